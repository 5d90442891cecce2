"""`where` expressions against a plain Python reading of them, and the limits that protect SQLite."""

import operator
import random
import sqlite3
from typing import Any

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.errors import DamagedError, DocumentError, FilterError
from colsearch.store.filter import MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, compile_where, field_rows
from colsearch.store.schema import SCHEMA
from colsearch.store.tables import matching_doc_nos

VALUES: list[Any] = [None, True, False, 0, 1, 2, 1.5, -3, 2**63, 10**30, "", "a", "b", "é", [], {}]
COMPARISONS = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}
DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"x": None},
    {"x": 1, "y": "a"},
    {"x": 1.0, "y": ["a", "b", 2]},
    {"x": True, "y": []},
    {"x": [1, None, "a", [5, [6]]], "y": {"z": 2}},
    {"x": {"z": [1, {"w": "b"}]}, "y": {}},
    {"x": 10**30, "y": -3},
    {"x": "é", "y": 2**63},
    {"x.z": 1, "y": [{"z": 2}, {"z": None}]},
]


@pytest.fixture(scope="module")
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    for doc_no, metadata in enumerate(DOCUMENTS):
        connection.execute("INSERT INTO documents VALUES (?, ?)", (doc_no, str(doc_no)))
        rows = [(*row, doc_no) for row in field_rows(metadata)]
        connection.executemany("INSERT INTO fields VALUES (?, ?, ?, ?)", rows)
    return connection


def matching(connection: sqlite3.Connection, where: dict) -> set[int]:
    sql, values = compile_where(where)
    return {doc_no for (doc_no,) in connection.execute(sql, values)}


def leaves(metadata: dict[str, Any], path: str) -> list[Any]:
    """The values under a path: each element of a list, and an empty list or mapping itself."""
    found = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        elif isinstance(value, list) and value:
            for inner in value:
                walk(prefix, inner)
        elif prefix == path:
            found.append(value)

    if metadata:
        walk("", metadata)
    return found


def kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def equal(leaf: Any, value: Any) -> bool:
    return kind(leaf) is kind(value) and (
        float(leaf) == float(value) if kind(leaf) is float else leaf == value
    )


def holds(metadata: dict, where: dict) -> bool:
    """Whether metadata match an expression: the slow reading, without SQL."""
    return all(holds_key(metadata, key, value) for key, value in where.items())


def holds_key(metadata: dict, key: str, value: Any) -> bool:
    if key == "$and":
        return all(holds(metadata, part) for part in value)
    if key == "$or":
        return any(holds(metadata, part) for part in value)
    if key == "$not":
        return not holds(metadata, value)
    found = leaves(metadata, key)
    conditions = value if isinstance(value, dict) else {"$eq": value}
    return all(condition_holds(metadata, key, found, name, wanted) for name, wanted in conditions.items())


def condition_holds(metadata: dict, path: str, found: list, name: str, wanted: Any) -> bool:
    if name in COMPARISONS:
        same = [leaf for leaf in found if kind(leaf) is kind(wanted)]
        return any(COMPARISONS[name](leaf, wanted) for leaf in same)
    if name == "$exists":
        stored = {row[0] for row in field_rows(metadata)}
        return wanted == any(other == path or other.startswith(f"{path}.") for other in stored)
    if name == "$not":
        return not holds(metadata, {path: wanted})
    values = wanted if name in ("$in", "$nin") else [wanted]
    return any(equal(leaf, value) for leaf in found for value in values) == (name in ("$eq", "$in"))


def random_where(rng: random.Random, depth: int) -> dict:
    scalars = [value for value in VALUES if not isinstance(value, list | dict)]
    ordered = [value for value in scalars if type(value) in (int, float, str)]

    def condition() -> Any:
        name = rng.choice(["plain", "$eq", "$ne", "$in", "$nin", "$exists", "$not", *COMPARISONS])
        if name == "plain":
            return rng.choice(scalars)
        if name == "$not":
            return {"$not": condition()}
        if name == "$exists":
            return {name: rng.random() < 0.5}
        if name in COMPARISONS:
            return {name: rng.choice(ordered)}
        return {name: rng.choices(scalars, k=3) if "in" in name else rng.choice(scalars)}

    where: dict[str, Any] = {}
    for _ in range(rng.randrange(1, 3)):
        key = rng.choice(["x", "y", "y.z", "x.z", "x.z.w", "q", "$and", "$or", "$not"])
        if key[0] != "$" or not depth:
            where[rng.choice("xy") if key[0] == "$" else key] = condition()
        elif key == "$not":
            where[key] = random_where(rng, depth - 1)
        else:
            where[key] = [random_where(rng, depth - 1) for _ in range(rng.randrange(1, 4))]
    return where


def test_random_expressions_mean_what_a_plain_reading_of_them_means(connection):
    rng = random.Random(5)
    n_matched = 0
    for _ in range(3000):
        where = random_where(rng, 3)
        expected = {n for n, metadata in enumerate(DOCUMENTS) if holds(metadata, where)}
        assert matching(connection, where) == expected, where
        n_matched += 0 < len(expected) < len(DOCUMENTS)
    assert n_matched > 500, "many expressions should tell documents apart"


def nested(n_levels: int) -> dict:
    where: dict[str, Any] = {"x": {"$nin": [1, 2]}}
    for _ in range(n_levels):
        where = {"x": {"$ne": 7}, "$not": where}
    return where


def test_the_deepest_expression_that_is_allowed_runs(connection):
    assert matching(connection, nested(MAX_DEPTH)) == matching(connection, nested(MAX_DEPTH % 2))
    for where in (nested(MAX_DEPTH + 1), nested(20_000)):
        with pytest.raises(FilterError, match="nested more than 32 levels"):
            compile_where(where)
    condition: Any = 1
    for _ in range(20_000):
        condition = {"$not": condition}
    with pytest.raises(FilterError, match="nested more than 32 levels"):
        compile_where({"x": condition})


def test_an_expression_that_holds_itself_many_times_over_is_refused_at_once():
    where: dict[str, Any] = {"x": 1}
    for _ in range(MAX_DEPTH):
        where = {"$or": [where, where]}
    with pytest.raises(FilterError, match="more than 256 conditions"):
        compile_where(where)


def test_the_widest_expressions_that_are_allowed_run(connection):
    many = [{"x": n} for n in range(MAX_CONDITIONS - 1)]
    assert matching(connection, {"$or": many}) == {2, 3, 5}
    assert matching(connection, {"$and": many}) == set()
    with pytest.raises(FilterError, match=r"use \$in"):
        compile_where({"$or": [*many, {"x": 1}]})
    values = list(range(MAX_VALUES))
    assert matching(connection, {"x": {"$in": values}}) == {2, 3, 5}
    with pytest.raises(FilterError, match="more than 10000 values"):
        compile_where({"$or": [{"x": {"$in": values}}, {"y": {"$in": values}}, {"z": {"$in": values}}]})


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({}, "mapping such as"),
        (None, "mapping such as"),
        ([("x", 1)], "mapping such as"),
        ({"x": {}}, "is empty"),
        ({"x": [1]}, r"use \{'\$in'"),
        ({"x": object()}, "compared with object"),
        ({"x": float("nan")}, "NaN"),
        ({"x": 10**400}, "no number field can hold"),
        ({"x": "\ud800"}, "lone surrogate"),
        ({"\ud800": 1}, "lone surrogate"),
        ({"x": "a" * (1 << 21)}, "2097152 characters"),
        ({"x" * (1 << 21): 1}, "2097152 characters"),
        ({1: 1}, "a string, not int"),
        ({"x": np.zeros(3)}, "compared with ndarray"),
        ({"x": {"$gt": None}}, "numbers or strings"),
        ({"x": {"$gt": True}}, "numbers or strings"),
        ({"x": {"$in": []}}, "1 to 10000"),
        ({"x": {"$in": "abc"}}, "1 to 10000"),
        ({"x": {"$in": [[1]]}}, "compared with list"),
        ({"x": {"$exists": 1}}, "True or False"),
        ({"x": {"$near": 1}}, r"\$near"),
        ({"$xor": []}, r"unknown operator '\$xor'"),
        ({"$or": {}}, "non-empty list"),
        ({"$not": []}, "mapping such as"),
    ],
)
def test_a_malformed_expression_is_named(where, message):
    with pytest.raises(FilterError, match=message):
        compile_where(where)


def test_numpy_scalars_compare_as_the_numbers_they_are(connection):
    assert matching(connection, {"x": np.int64(1)}) == matching(connection, {"x": 1}) == {2, 3, 5}
    assert matching(connection, {"x": np.float32(1.0)}) == {2, 3, 5}


def test_numbers_come_sorted_and_once(connection):
    select = "SELECT column1 AS doc_no FROM (VALUES (7), (3), (7), (-2), (9007199254740993), (3))"
    found = matching_doc_nos(connection, select, [])
    assert found.tolist() == [-2, 3, 7, 9007199254740993] and found.dtype == np.int64
    assert (
        matching_doc_nos(connection, "SELECT doc_no FROM documents WHERE doc_no > ?", [10**6]).tolist() == []
    )


@pytest.mark.parametrize("value", [1.0, 1.5, 1e30, "one", "1,2", "", None, b"x"])
def test_a_number_that_is_no_integer_is_damage(connection, value):
    with pytest.raises(DamagedError, match="no integer; run"):
        matching_doc_nos(connection, "SELECT column1 AS doc_no FROM (VALUES (0), (?), (1))", [value])


def test_of_several_segments_the_live_documents_that_match_are_found(tmp_path):
    with ColIndex.create(tmp_path / "index", dim=8) as index:
        vectors, passing = [np.eye(1, 8)], set()
        for first in (0, 40, 80):
            rows = range(first, first + 40)
            index.add_vectors(vectors * 40, ids=rows, metadata=[{"tags": [n % 3, n % 5]} for n in rows])
            passing |= {n for n in rows if n % 3 == 2 or n % 5 == 2}
        # These documents are dead at first. Once they are merged away, they leave gaps in the numbers.
        index.delete([2, 42, 44, 47, 82])
        passing -= {2, 42, 44, 47, 82}
        where = {"tags": {"$in": [2, 2.0]}}
        for _ in range(2):
            assert {hit.id for hit in index.search(np.eye(1, 8), k=200, where=where)} == passing
            index.compact()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"n": 10**400}, "beyond every number type"),
        ({"s": "\ud800"}, "surrogates not allowed"),
        ({"\udfff": 1}, "surrogates not allowed"),
        ({1: "a", "1": "b"}, "the same when written as strings"),
        ({"f": float("nan")}, r"cannot be stored"),
        ({"f": float("inf")}, r"cannot be stored"),
        ({"b": b"bytes"}, "not JSON serializable"),
        ({"long": "a" * (1 << 21)}, "at most 1048576"),
    ],
)
def test_metadata_that_could_not_be_found_again_are_refused(tmp_path, metadata, message):
    with ColIndex.create(tmp_path / "index", dim=8) as index:
        with pytest.raises(DocumentError, match=message):
            index.add_vectors([np.eye(2, 8)], ids=["a"], metadata=[metadata])
        index.add_vectors([np.eye(2, 8)], ids=["a"], metadata=[{"n": 10**30}])
        assert [hit.id for hit in index.search(np.eye(2, 8), where={"n": 10**30})] == ["a"]


@pytest.mark.parametrize(("n_levels", "fits"), [(64, True), (65, False), (900, False), (100_000, False)])
def test_metadata_nest_so_deep_and_no_deeper(tmp_path, n_levels, fits):
    metadata: Any = 1
    for _ in range(n_levels):
        metadata = {"a": metadata}
    with ColIndex.create(tmp_path / "index", dim=8) as index:
        if fits:
            index.add_vectors([np.eye(2, 8)], ids=["deep"], metadata=[metadata])
            assert index.get("deep").metadata == metadata
        else:
            with pytest.raises(DocumentError, match=r"nested more than 64|recursion"):
                index.add_vectors([np.eye(2, 8)], ids=["deep"], metadata=[metadata])
