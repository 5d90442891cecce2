"""The small tables of SQLite that decide what a search sees, under one checksum, and typed.

SQLite's pages have no checksums. These tables say how codes are read, which segments are searched and which of
their documents are live; all else that a hit tells comes from the segments.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from colsearch.errors import DamagedError
from colsearch.types import I64

_SEALED = (
    "SELECT key, value FROM state WHERE key <> 'seal' ORDER BY key",
    "SELECT first_doc_no, name, n_docs, n_tokens, n_bytes, staged FROM segments ORDER BY first_doc_no",
    "SELECT name, n_bytes, current, notes FROM models ORDER BY name",
    "SELECT segment, model, name, n_bytes FROM prefilters ORDER BY segment, model",
    "SELECT doc_no FROM replaced ORDER BY doc_no",
)
_TOMBSTONES = "SELECT doc_no FROM tombstones ORDER BY doc_no"
_NO_INTEGER = "index.sqlite: a document's number is no integer; run `colsearch check --repair`"


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """What SQLite says of a segment."""

    name: str
    first_doc_no: int
    n_docs: int
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Catalog:
    """What one commit holds.

    Attributes:
        settings: of `create`.
        visible: the highest document number given out.
        segments: those that are not staged, in insertion order.
        tombstones: sorted numbers of dead documents.
        model: name and notes of the current model, if there is one.
        prefilters: segment and model -> file name.
    """

    settings: dict[str, Any]
    visible: int
    segments: list[SegmentRow]
    tombstones: I64
    model: tuple[str, str] | None
    prefilters: dict[tuple[str, str], str]


def seal(connection: sqlite3.Connection) -> None:
    """Write the checksum of the small tables: the last thing in every transaction."""
    connection.execute("INSERT OR REPLACE INTO state VALUES ('seal', ?)", (_checksum(connection),))


def is_sealed(connection: sqlite3.Connection) -> bool:
    """Whether the small tables are those of the last commit."""
    row = connection.execute("SELECT value FROM state WHERE key = 'seal'").fetchone()
    return row is not None and row[0] == _checksum(connection)


def read_catalog(connection: sqlite3.Connection) -> Catalog:
    """Raises: DamagedError: if the checksum is wrong, or a value has another type than was written."""
    if not is_sealed(connection):
        raise DamagedError(
            "the settings, segments or deletions in index.sqlite do not match their checksum; "
            "run `colsearch check --repair`"
        )
    try:
        return _catalog(connection)
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise DamagedError(f"index.sqlite is malformed ({error}); run `colsearch check --repair`") from None


def _catalog(connection: sqlite3.Connection) -> Catalog:
    state = dict(connection.execute("SELECT key, value FROM state"))
    settings = json.loads(_typed(state["settings"], str))
    rows = connection.execute(
        "SELECT name, first_doc_no, n_docs, n_tokens FROM segments WHERE staged = 0 ORDER BY first_doc_no"
    )
    model = connection.execute("SELECT name, notes FROM models WHERE current = 1").fetchone()
    prefilters = connection.execute("SELECT segment, model, name FROM prefilters")
    return Catalog(
        settings=_typed(settings, dict),
        visible=_typed(state["visible"], int),
        segments=[
            SegmentRow(_typed(name, str), *(_typed(number, int) for number in numbers))
            for name, *numbers in rows
        ],
        tombstones=doc_nos(connection.execute(_TOMBSTONES)),
        model=None if model is None else (_typed(model[0], str), _typed(model[1], str)),
        prefilters={(_typed(s, str), _typed(m, str)): _typed(name, str) for s, m, name in prefilters},
    )


def doc_nos(rows: sqlite3.Cursor) -> I64:
    """The first column as int64.

    Raises: DamagedError: if it holds anything but integers.
    """
    numbers = [row[0] for row in rows]
    if not all(type(number) is int for number in numbers):
        raise DamagedError(_NO_INTEGER)
    return np.array(numbers, np.int64)


def matching_doc_nos(connection: sqlite3.Connection, select: str, values: Sequence[Any]) -> I64:
    """Sorted int64 numbers that a SELECT of doc_no gives, each once.

    SQLite writes them into one string: a row of its own for each takes Python four times as long.
    Raises: DamagedError: if any is no integer.
    """
    sql = f"SELECT count(*), group_concat(doc_no) FROM ({select})"
    n, listed = connection.execute(sql, values).fetchone()
    try:
        numbers = np.fromstring(listed, np.int64, sep=",") if n else np.empty(0, np.int64)
    except (TypeError, ValueError):
        numbers = np.empty(0, np.int64)
    if len(numbers) != n:
        raise DamagedError(_NO_INTEGER)
    numbers.sort()
    first = np.ones(n, bool)
    first[1:] = numbers[1:] != numbers[:-1]
    return numbers[first]


def _checksum(connection: sqlite3.Connection) -> str:
    digest = xxhash.xxh3_128()
    for sql in _SEALED:
        for row in connection.execute(sql):
            digest.update(repr(row).encode())
    # There may be millions of these.
    digest.update(doc_nos(connection.execute(_TOMBSTONES)).astype("<i8").tobytes())
    return str(digest.hexdigest())


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} instead of a value of type {kind.__name__}")
    return value
