"""Every statement that reads or writes rows, behind typed functions; the columns' order is known here alone.

Each function takes the connection of a transaction that its caller has begun: `Database` begins, seals and
commits. `schema` defines the tables and has the statements that concern the whole file. `filter` writes a
`where` expression as a SELECT over the tables `fields` and `documents`, and `matching_doc_nos` runs it.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from colsearch.errors import DamagedError
from colsearch.store.filter import Row, field_rows
from colsearch.store.schema import SCHEMA_VERSION, TEXT_INDEX
from colsearch.store.segment import Segment
from colsearch.store.stored_json import id_key
from colsearch.types import I64, Document

T = TypeVar("T")
# One statement looks up at most this many keys, because SQLite limits the values that a statement may bind.
_KEYS_PER_STATEMENT = 500
_NO_INTEGER = "index.sqlite: a document's number is no integer; run `colsearch check --repair`"


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment's row.

    Attributes:
        n_bytes: size of its file. Rows are compared without it, because a container checks its own size.
    """

    name: str
    first_doc_no: int
    n_docs: int
    n_tokens: int
    n_bytes: int = field(compare=False)

    @classmethod
    def describing(cls, segment: Segment) -> "SegmentRow":
        """The row that a segment should have."""
        first_doc_no = int(segment.doc_nos[0])
        return cls(segment.name, first_doc_no, segment.n_docs, segment.n_tokens, segment.file.n_bytes)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A fitted model's row.

    Attributes:
        notes: JSON, what was measured of it on the documents of this index.
    """

    name: str
    notes: str


@dataclass(frozen=True, slots=True)
class PrefilterRow:
    """A prefilter file's row.

    Attributes:
        segment, model: names of the files that it was made from.
        n_bytes: size of its file.
    """

    segment: str
    model: str
    name: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class FileNames:
    """Names of all files that some row names, staged and not adopted ones included."""

    segments: set[str]
    prefilters: set[str]
    models: set[str]


# --- state and the seal -----------------------------------------------------------------------------


def insert_state(connection: sqlite3.Connection, settings: dict[str, Any]) -> None:
    """Enter the state of an empty index."""
    rows = {"format_version": SCHEMA_VERSION, "settings": json.dumps(settings), "visible": -1}
    connection.executemany("INSERT INTO state VALUES (?, ?)", rows.items())


def state(connection: sqlite3.Connection) -> dict[str, Any]:
    """All values of the table `state`, of whatever type SQLite holds."""
    return dict(connection.execute("SELECT key, value FROM state"))


def format_version(connection: sqlite3.Connection) -> object:
    """The stored format version, or None."""
    row = connection.execute("SELECT value FROM state WHERE key = 'format_version'").fetchone()
    return None if row is None else row[0]


def set_visible(connection: sqlite3.Connection, last_doc_no: int) -> None:
    """Let readers see the documents up to this number."""
    connection.execute("UPDATE state SET value = ? WHERE key = 'visible'", (last_doc_no,))


def sealed_rows(connection: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """All rows that the seal covers except tombstones, in a fixed order."""
    for sql in (
        "SELECT key, value FROM state WHERE key <> 'seal' ORDER BY key",
        "SELECT first_doc_no, name, n_docs, n_tokens, n_bytes, staged FROM segments ORDER BY first_doc_no",
        "SELECT name, n_bytes, current, notes FROM models ORDER BY name",
        "SELECT segment, model, name, n_bytes FROM prefilters ORDER BY segment, model",
        "SELECT doc_no FROM replaced ORDER BY doc_no",
    ):
        yield from connection.execute(sql)


def stored_seal(connection: sqlite3.Connection) -> object:
    """The checksum that the last commit has written, or None."""
    row = connection.execute("SELECT value FROM state WHERE key = 'seal'").fetchone()
    return None if row is None else row[0]


def write_seal(connection: sqlite3.Connection, checksum: str) -> None:
    """Replace the checksum."""
    connection.execute("INSERT OR REPLACE INTO state VALUES ('seal', ?)", (checksum,))


def delete_seal(connection: sqlite3.Connection) -> None:
    """Delete the checksum, so that writing the same one again changes the file."""
    connection.execute("DELETE FROM state WHERE key = 'seal'")


# --- segments ---------------------------------------------------------------------------------------


def insert_segment(connection: sqlite3.Connection, row: SegmentRow, *, staged: bool) -> None:
    """Enter a segment. Readers see it once it is not staged and its documents are visible."""
    connection.execute(
        "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)",
        (row.first_doc_no, row.name, row.n_docs, row.n_tokens, row.n_bytes, int(staged)),
    )


def published_segments(connection: sqlite3.Connection) -> list[SegmentRow]:
    """The segments that are not staged, in insertion order.

    Raises: TypeError: if a value has another type than was written.
    """
    rows = connection.execute(
        "SELECT name, first_doc_no, n_docs, n_tokens, n_bytes FROM segments "
        "WHERE staged = 0 ORDER BY first_doc_no"
    )
    return [
        SegmentRow(typed(name, str), *(typed(number, int) for number in numbers)) for name, *numbers in rows
    ]


def staged_segments(connection: sqlite3.Connection) -> list[str]:
    """Names of the segments of an unfinished add, in insertion order."""
    rows = connection.execute("SELECT name FROM segments WHERE staged = 1 ORDER BY first_doc_no")
    return [name for (name,) in rows]


def delete_segment(connection: sqlite3.Connection, name: str) -> None:
    """Forget a segment and its prefilter files."""
    connection.execute("DELETE FROM segments WHERE name = ?", (name,))
    connection.execute("DELETE FROM prefilters WHERE segment = ?", (name,))


def file_names(connection: sqlite3.Connection) -> FileNames:
    """Read the names of all files that are not garbage."""

    def names(rows: sqlite3.Cursor) -> set[str]:
        return {name for (name,) in rows}

    return FileNames(
        segments=names(connection.execute("SELECT name FROM segments")),
        prefilters=names(connection.execute("SELECT name FROM prefilters")),
        models=names(connection.execute("SELECT name FROM models")),
    )


# --- documents: ids, metadata fields and texts ------------------------------------------------------


def insert_documents(connection: sqlite3.Connection, documents: Iterable[tuple[int, Document]]) -> None:
    """Enter numbered documents into the tables that look them up."""
    for doc_no, document in documents:
        connection.execute("INSERT INTO documents VALUES (?, ?)", (doc_no, id_key(document.id)))
        if document.metadata:
            rows = [(*row, doc_no) for row in sorted(field_rows(document.metadata), key=repr)]
            connection.executemany("INSERT OR IGNORE INTO fields VALUES (?, ?, ?, ?)", rows)
        if document.text:
            connection.execute("INSERT INTO texts (rowid, text) VALUES (?, ?)", (doc_no, document.text))


def forget_contents(connection: sqlite3.Connection, documents: Iterable[tuple[int, Document]]) -> None:
    """Delete numbered documents from the metadata fields and the text index."""
    for doc_no, document in documents:
        keys = [(*row, doc_no) for row in field_rows(document.metadata)]
        connection.executemany(
            "DELETE FROM fields WHERE path = ? AND kind = ? AND value = ? AND doc_no = ?", keys
        )
        if document.text:
            # A contentless FTS5 table can forget a text only if it is told the text.
            connection.execute(
                "INSERT INTO texts (texts, rowid, text) VALUES ('delete', ?, ?)", (doc_no, document.text)
            )


def forget_ids(connection: sqlite3.Connection, first_doc_no: int, last_doc_no: int) -> None:
    """Delete the ids of the documents in a range of numbers, its last included."""
    connection.execute("DELETE FROM documents WHERE doc_no BETWEEN ? AND ?", (first_doc_no, last_doc_no))


def last_doc_no(connection: sqlite3.Connection) -> int | None:
    """The highest number of a document that has an id, staged ones included."""
    last: int | None = connection.execute("SELECT max(doc_no) FROM documents").fetchone()[0]
    return last


def ids(connection: sqlite3.Connection) -> Iterator[tuple[Any, Any]]:
    """Number and `id_key` of every document, of whatever type SQLite holds."""
    return connection.execute("SELECT doc_no, id FROM documents")


def doc_nos_for_keys(connection: sqlite3.Connection, keys: Sequence[str]) -> list[tuple[str, int]]:
    """Key and number of the documents that have one of these `id_key`s, however many there are.

    Raises: DamagedError: if SQLite gives anything but strings and integers.
    """
    found = []
    for start in range(0, len(keys), _KEYS_PER_STATEMENT):
        chunk = keys[start : start + _KEYS_PER_STATEMENT]
        marks = ",".join("?" * len(chunk))
        rows = connection.execute(f"SELECT id, doc_no FROM documents WHERE id IN ({marks})", chunk).fetchall()
        if any((type(key), type(doc_no)) != (str, int) for key, doc_no in rows):
            raise DamagedError("index.sqlite: an id or a number of a document has another type")
        found += rows
    return found


def matching_doc_nos(connection: sqlite3.Connection, select: str, values: Sequence[Any]) -> I64:
    """Sorted int64 numbers that a SELECT of doc_no gives, each once.

    SQLite writes them into one string, because fetching a row per number takes Python four times as long.
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
    # Sorted here, because an ORDER BY would make SQLite merge the terms of a long $or row by row.
    numbers.sort()
    is_first = np.ones(n, bool)
    is_first[1:] = numbers[1:] != numbers[:-1]
    return numbers[is_first]


def bm25(connection: sqlite3.Connection, match: str, limit: int) -> list[tuple[int, float]]:
    """Number and BM25 score of the texts that match an FTS5 expression, best first; some may be dead."""
    return connection.execute(
        "SELECT rowid, -bm25(texts) FROM texts WHERE texts MATCH ? ORDER BY bm25(texts), rowid LIMIT ?",
        (match, limit),
    ).fetchall()


def optimize_texts(connection: sqlite3.Connection) -> None:
    """Merge all segments of the text index, which is what really drops the terms of deleted texts."""
    connection.execute("INSERT INTO texts (texts) VALUES ('optimize')")


# --- deletions --------------------------------------------------------------------------------------


def bury(connection: sqlite3.Connection, doc_nos: Iterable[int]) -> None:
    """Delete documents: their ids go, and tombstones hide them until their segments are rewritten."""
    rows = [(doc_no,) for doc_no in doc_nos]
    connection.executemany("DELETE FROM documents WHERE doc_no = ?", rows)
    connection.executemany("INSERT OR IGNORE INTO tombstones VALUES (?)", rows)


def delete_tombstones(connection: sqlite3.Connection, doc_nos: Iterable[int]) -> None:
    """Forget deletions, because no segment holds these documents any more."""
    connection.executemany("DELETE FROM tombstones WHERE doc_no = ?", [(doc_no,) for doc_no in doc_nos])


def tombstones(connection: sqlite3.Connection) -> I64:
    """Sorted int64 numbers of dead documents.

    Raises: DamagedError: if any is no integer.
    """
    numbers = list(raw_tombstones(connection))
    if not all(type(number) is int for number in numbers):
        raise DamagedError(_NO_INTEGER)
    return np.array(numbers, np.int64)


def raw_tombstones(connection: sqlite3.Connection) -> Iterator[Any]:
    """Numbers of dead documents, of whatever type SQLite holds."""
    return (doc_no for (doc_no,) in connection.execute("SELECT doc_no FROM tombstones ORDER BY doc_no"))


def insert_replaced(connection: sqlite3.Connection, doc_nos: Iterable[int]) -> None:
    """Note documents that die once the staged documents become visible."""
    rows = ((doc_no,) for doc_no in doc_nos)
    connection.executemany("INSERT OR IGNORE INTO replaced VALUES (?)", rows)


def delete_replaced(connection: sqlite3.Connection) -> None:
    """Forget which documents the staged ones would have replaced."""
    connection.execute("DELETE FROM replaced")


def publish_staged(connection: sqlite3.Connection, last_doc_no: int) -> None:
    """Make the staged documents up to this number visible, and bury those that they replace."""
    connection.execute("DELETE FROM documents WHERE doc_no IN (SELECT doc_no FROM replaced)")
    connection.execute("INSERT OR IGNORE INTO tombstones SELECT doc_no FROM replaced")
    delete_replaced(connection)
    connection.execute("UPDATE segments SET staged = 0 WHERE staged = 1")
    set_visible(connection, last_doc_no)


# --- fitted models and prefilter files --------------------------------------------------------------


def insert_model(connection: sqlite3.Connection, row: ModelRow, n_bytes: int, *, current: bool) -> None:
    """Enter a model, in place of one of the same name."""
    connection.execute(
        "INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?)", (row.name, n_bytes, int(current), row.notes)
    )


def current_model(connection: sqlite3.Connection) -> ModelRow | None:
    """The model that searches use.

    Raises: TypeError: if a value has another type than was written.
    """
    row = connection.execute("SELECT name, notes FROM models WHERE current = 1").fetchone()
    return None if row is None else ModelRow(typed(row[0], str), typed(row[1], str))


def has_other_models(connection: sqlite3.Connection, keep: str | None) -> bool:
    """Whether there is a model beside this one."""
    return connection.execute("SELECT 1 FROM models WHERE name IS NOT ?", (keep,)).fetchone() is not None


def delete_other_models(connection: sqlite3.Connection, keep: str | None) -> None:
    """Forget all models but one, and the prefilter files that they made."""
    connection.execute("DELETE FROM models WHERE name IS NOT ?", (keep,))
    connection.execute("DELETE FROM prefilters WHERE model IS NOT ?", (keep,))


def set_current_model(connection: sqlite3.Connection, notes: str) -> None:
    """Let searches use the only model that is left."""
    connection.execute("UPDATE models SET current = 1, notes = ?", (notes,))


def insert_prefilter(connection: sqlite3.Connection, row: PrefilterRow) -> None:
    """Enter a prefilter file, in place of the segment's earlier one of the same model."""
    connection.execute(
        "INSERT OR REPLACE INTO prefilters VALUES (?, ?, ?, ?)",
        (row.segment, row.model, row.name, row.n_bytes),
    )


def prefilter_names(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Names of segment and model -> name of the prefilter file.

    Raises: TypeError: if a value has another type than was written.
    """
    rows = connection.execute("SELECT segment, model, name FROM prefilters")
    return {(typed(segment, str), typed(model, str)): typed(name, str) for segment, model, name in rows}


# --- checks of all tables ---------------------------------------------------------------------------


def fields(connection: sqlite3.Connection) -> Iterator[tuple[Any, Row]]:
    """Document number and field row of every metadata value, of whatever type SQLite holds."""
    for *row, doc_no in connection.execute("SELECT path, kind, value, doc_no FROM fields"):
        yield doc_no, tuple(row)


def text_indexes(
    connection: sqlite3.Connection, texts: Iterable[tuple[int, str]]
) -> Iterator[tuple[str, sqlite3.Cursor, sqlite3.Cursor]]:
    """The text index beside a second one built from the texts: name and both rows of each kind of content.

    The second index is built in temporary tables, which go when the caller's transaction is rolled back.
    Args:
        texts: number and text of all documents that have a text.
    """
    # fts5vocab lists every word of every text, in order.
    for statement in (
        f"CREATE VIRTUAL TABLE temp.expected USING {TEXT_INDEX}",
        "CREATE VIRTUAL TABLE temp.expected_words USING fts5vocab (temp, expected, instance)",
        "CREATE VIRTUAL TABLE temp.texts_words USING fts5vocab (main, texts, instance)",
    ):
        connection.execute(statement)
    connection.executemany("INSERT INTO temp.expected (rowid, text) VALUES (?, ?)", texts)
    for content, sql in {
        "words": "SELECT term, doc, col, offset FROM temp.{}_words",
        "lengths": "SELECT id, sz FROM {}_docsize ORDER BY id",
        # These totals give BM25 its averages. They are an empty block before the first text is entered, and
        # zeros after the last one was deleted.
        "totals": "SELECT nullif(nullif(block, x'0000'), x'') FROM {}_data WHERE id = 1",
        "settings": "SELECT k, v FROM {}_config ORDER BY k",
    }.items():
        found, expected = (connection.execute(sql.format(index)) for index in ("texts", "expected"))
        yield content, found, expected


def typed(value: Any, kind: type[T]) -> T:
    """The value, if it has exactly this type.

    Raises: TypeError.
    """
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} instead of a value of type {kind.__name__}")
    return value
