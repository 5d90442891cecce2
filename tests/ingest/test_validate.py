"""The rules for ids and metadata, and columns that are walked in step."""

import json
from typing import Any

import numpy as np
import pytest

from colsearch.errors import DocumentError
from colsearch.ingest.validate import (
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    Columns,
    checked_id,
    checked_metadata,
)


def nested(n_levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(n_levels):
        value = {"inner": value}
    return value


@pytest.mark.parametrize("value", [0, -(2**63), 2**63 - 1, "a", "é😀", "0"])
def test_an_id_is_kept_as_it_is(value: str | int) -> None:
    assert checked_id(value) == value and type(checked_id(value)) is type(value)


def test_an_integer_of_numpy_becomes_a_plain_one() -> None:
    assert type(checked_id(np.int32(7))) is int


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_an_integer_beyond_64_bits_is_refused(value: int) -> None:
    with pytest.raises(DocumentError, match="does not fit into 64 bits"):
        checked_id(value)


def test_metadata_may_be_as_deep_and_as_large_as_the_limits_say_and_no_more() -> None:
    assert checked_metadata(nested(MAX_METADATA_DEPTH), where="d") == nested(MAX_METADATA_DEPTH)
    with pytest.raises(DocumentError, match=f"d: metadata nested more than {MAX_METADATA_DEPTH} levels"):
        checked_metadata(nested(MAX_METADATA_DEPTH + 1), where="d")
    room = MAX_METADATA_BYTES - len(json.dumps({"x": ""}))
    # Each é takes two bytes of UTF-8.
    largest = {"x": "é" * (room // 2) + "x" * (room % 2)}
    assert checked_metadata(largest, where="d") == largest
    with pytest.raises(DocumentError, match=f"metadata of {MAX_METADATA_BYTES + 1} bytes"):
        checked_metadata({"x": largest["x"] + "x"}, where="d")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([("a", 1)], "a mapping, not list"),
        ({1: "a", "1": "b"}, "two keys"),
        ({"x": float("nan")}, "cannot be stored as JSON"),
        ({"x": {1, 2}}, "cannot be stored as JSON"),
        ({"x": "\ud800"}, "cannot be stored as JSON"),
        ({"x": 10**400}, "cannot be stored as JSON"),
    ],
)
def test_metadata_that_json_would_change_is_refused(metadata: Any, message: str) -> None:
    with pytest.raises(DocumentError, match=f"d: .*{message}"):
        checked_metadata(metadata, where="d")


def test_columns_are_walked_in_step_and_missing_ids_are_numbers_from_the_first() -> None:
    columns = Columns(iter(["a", None]), metadata=iter([None, {"n": 1}]), vectors=iter(["v0", "v1"]))
    assert columns.n_docs is None
    (first, first_vectors), (second, second_vectors) = columns.documents(first_id=40)
    assert (first.id, first.text, first.metadata, first_vectors) == (40, "a", {}, "v0")
    assert (second.id, second.text, second.metadata, second_vectors) == (41, None, {"n": 1}, "v1")


def test_a_column_that_ends_early_is_named() -> None:
    documents = Columns(["a", "b", "c"], ids=["x", "y"], metadata=[{}, {}]).documents(0)
    assert [next(documents)[0].id, next(documents)[0].id] == ["x", "y"]
    with pytest.raises(DocumentError, match="ids and metadata ended after 2 entries, but texts went on"):
        next(documents)
