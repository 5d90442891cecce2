"""A segment's documents <-> their rows in SQLite: ids, metadata fields and the text index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from colsearch.store import files
from colsearch.store.filter import field_rows
from colsearch.store.segment import Segment
from colsearch.store.snapshot import id_key
from colsearch.types import I64, Document

if TYPE_CHECKING:
    from colsearch.store.store import Store


def insert_documents(
    connection: sqlite3.Connection, segment: Segment, name: str, n_bytes: int, *, staged: bool
) -> None:
    """Enter a segment and all its documents."""
    row = (int(segment.doc_nos[0]), name, segment.n_docs, segment.n_tokens, n_bytes, int(staged))
    connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)", row)
    index_documents(connection, numbered(segment, np.arange(segment.n_docs)))


def index_documents(connection: sqlite3.Connection, documents: Iterable[tuple[int, Document]]) -> None:
    """Enter documents into the tables that look them up."""
    for doc_no, document in documents:
        connection.execute("INSERT INTO documents VALUES (?, ?)", (doc_no, id_key(document.id)))
        if document.metadata:
            rows = [(*row, doc_no) for row in sorted(field_rows(document.metadata), key=repr)]
            connection.executemany("INSERT OR IGNORE INTO fields VALUES (?, ?, ?, ?)", rows)
        if document.text:
            connection.execute("INSERT INTO texts (rowid, text) VALUES (?, ?)", (doc_no, document.text))


def forget_documents(connection: sqlite3.Connection, segment: Segment, ordinals: I64) -> None:
    """Take documents out of the field and text indexes."""
    for doc_no, document in numbered(segment, ordinals):
        keys = [(*row, doc_no) for row in field_rows(document.metadata)]
        connection.executemany(
            "DELETE FROM fields WHERE path = ? AND kind = ? AND value = ? AND doc_no = ?", keys
        )
        if document.text:
            # A contentless FTS5 table can forget a text only if it is told the text.
            connection.execute(
                "INSERT INTO texts (texts, rowid, text) VALUES ('delete', ?, ?)", (doc_no, document.text)
            )


def delete_staged(store: Store) -> None:
    """Undo what an unfinished build left, segment by segment, and files that no row names."""
    with store.database.reading() as connection:
        staged = connection.execute(
            "SELECT name FROM segments WHERE staged = 1 ORDER BY first_doc_no DESC"
        ).fetchall()
    for (name,) in staged:
        segment = store.open_segment(name)
        with store.database.writing() as connection:
            forget_documents(connection, segment, np.arange(segment.n_docs))
            connection.execute(
                "DELETE FROM documents WHERE doc_no BETWEEN ? AND ?",
                (int(segment.doc_nos[0]), int(segment.doc_nos[-1])),
            )
            connection.execute("DELETE FROM segments WHERE name = ?", (name,))
    if staged:
        with store.database.writing() as connection:
            connection.execute("DELETE FROM replaced")
    collect(store)


def collect(store: Store) -> None:
    """Remove the files that the index wrote and that no row names any more."""
    with store.database.reading() as connection:
        named = {name for (name,) in connection.execute("SELECT name FROM segments")}
        named |= {name for (name,) in connection.execute("SELECT name FROM prefilters")}
        models = {name for (name,) in connection.execute("SELECT name FROM models")}
    for folder, kept in ((store.segments_folder, named), (store.models_folder, models)):
        for path in folder.iterdir():
            if store.is_own_file(path) and path.name not in kept:
                files.remove(path)


def numbered(segment: Segment, ordinals: I64) -> Iterator[tuple[int, Document]]:
    for ordinal in ordinals:
        yield int(segment.doc_nos[ordinal]), segment.document(int(ordinal))
