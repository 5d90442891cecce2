"""Compare SQLite's tables with what the segments hold: schema, metadata fields, text index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from colsearch.errors import DamagedError
from colsearch.store.database import SCHEMA
from colsearch.store.filter import Row, field_rows
from colsearch.store.segment import Segment
from colsearch.types import Document

if TYPE_CHECKING:
    from colsearch.store.store import Store

_SCHEMA_ROWS = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
_FIELDS = "SELECT path, kind, value, doc_no FROM fields"
# The text index again, made from the segments' texts. fts5vocab lists every word of every text, in order.
_SECOND_INDEX = (
    "CREATE VIRTUAL TABLE temp.expected USING fts5 (text, content='', tokenize='porter unicode61')",
    "CREATE VIRTUAL TABLE temp.expected_words USING fts5vocab (temp, expected, instance)",
    "CREATE VIRTUAL TABLE temp.texts_words USING fts5vocab (main, texts, instance)",
)
# Of both indexes, `{}` being the name: words, lengths of texts, totals for BM25's averages, settings.
_TEXT_INDEX = {
    "words": "SELECT term, doc, col, offset FROM temp.{}_words",
    "lengths": "SELECT id, sz FROM {}_docsize ORDER BY id",
    # None are an empty block before the first text, and zeros after the last one went.
    "totals": "SELECT nullif(nullif(block, x'0000'), x'') FROM {}_data WHERE id = 1",
    "settings": "SELECT k, v FROM {}_config ORDER BY k",
}


def check_tables(store: Store) -> list[str]:
    """One sentence for each thing that is wrong.

    All of it is one read transaction: a process that writes meanwhile waits with its commit.
    """
    try:
        with store.database.reading() as connection:
            # First, because a damaged B-tree can lead any other query astray.
            lines = [line for (line,) in connection.execute("PRAGMA integrity_check")]
            if lines != ["ok"]:
                return [f"SQLite: {line}" for line in lines]
            segments = [part.segment for part in store.snapshot().segments]
            segments += [store.open_segment(name) for name in store.staged_names()]
            return [
                *_schema(connection),
                *_fields(connection, segments),
                *_text_index(connection, segments),
            ]
    except (DamagedError, FileNotFoundError) as error:
        return [str(error)]


def _schema(connection: sqlite3.Connection) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(SCHEMA)
        expected = fresh.execute(_SCHEMA_ROWS).fetchall()
    if connection.execute(_SCHEMA_ROWS).fetchall() != expected:
        return ["SQLite: the tables are not defined as format 1 defines them"]
    return []


def _fields(connection: sqlite3.Connection, segments: Sequence[Segment]) -> list[str]:
    """The exclusive or of hashes for each document, so that memory does not grow with the metadata."""
    numbers = np.concatenate([segment.doc_nos for segment in segments] or [np.empty(0, np.int64)])
    position = {doc_no: n for n, doc_no in enumerate(numbers.tolist())}
    said, held = np.zeros(len(numbers), np.uint64), np.zeros(len(numbers), np.uint64)
    problems = []
    for *row, doc_no in connection.execute(_FIELDS):
        if doc_no in position:
            said[position[doc_no]] ^= _hash(tuple(row))
        else:
            problems.append(f"document {doc_no}: SQLite has metadata of a document that no segment holds")
    for doc_no, document in _documents(segments):
        for field in field_rows(document.metadata):
            held[position[doc_no]] ^= _hash(field)
    differing = numbers[said != held]
    return problems + [f"document {n}: its metadata in SQLite differ from the segment's" for n in differing]


def _hash(row: Row | tuple[object, ...]) -> np.uint64:
    return np.uint64(xxhash.xxh3_64_intdigest(repr(row).encode(errors="surrogatepass")))


def _text_index(connection: sqlite3.Connection, segments: Sequence[Segment]) -> list[str]:
    # The caller's transaction is rolled back, and these temporary tables with it.
    for statement in _SECOND_INDEX:
        connection.execute(statement)
    rows = ((doc_no, document.text) for doc_no, document in _documents(segments) if document.text)
    connection.executemany("INSERT INTO temp.expected (rowid, text) VALUES (?, ?)", rows)
    problems = []
    for what, sql in _TEXT_INDEX.items():
        found, expected = (connection.execute(sql.format(name)) for name in ("texts", "expected"))
        if any(one != other for one, other in zip_longest(found, expected)):
            problems.append(f"text index: {what} differ from those of the segments' texts")
    return problems


def _documents(segments: Sequence[Segment]) -> Iterator[tuple[int, Document]]:
    """Also the dead, which leave SQLite when their segment is rewritten."""
    for segment in segments:
        for ordinal in range(segment.n_docs):
            yield int(segment.doc_nos[ordinal]), segment.document(ordinal)
