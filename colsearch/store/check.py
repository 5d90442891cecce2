"""Compare every checksum, and SQLite with the segments; rebuild SQLite's tables from the segments."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from colsearch.errors import ColsearchError, DamagedError
from colsearch.store.container import BLOCK_BYTES, Container
from colsearch.store.filter import field_rows
from colsearch.store.rows import index_documents
from colsearch.store.segment import Segment
from colsearch.store.snapshot import LiveSegment, id_key
from colsearch.types import DocId, Document

if TYPE_CHECKING:
    from colsearch.store.store import Store


@dataclass(slots=True)
class CheckReport:
    """What `check` looked at and found wrong; `ok` when nothing.

    Attributes:
        n_files, n_documents: looked at.
        problems: one sentence each, naming file, block or document.
        damaged_ids: documents whose stored bytes are wrong.
        repaired: what `repair` did.
    """

    n_files: int = 0
    n_documents: int = 0
    problems: list[str] = field(default_factory=list)
    damaged_ids: list[DocId] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok}


def check(store: Store, *, deep: bool = False) -> CheckReport:
    """Verify all checksums; deep also compares SQLite's ids, metadata and structure with the segments."""
    report = CheckReport()
    _check_files(store, report)
    if not report.problems:
        _check_ids(store, report)
        if deep:
            _check_tables(store, report)
    return report


def _check_files(store: Store, report: CheckReport) -> None:
    with store.database.reading() as connection:
        segments = [name for (name,) in connection.execute("SELECT name FROM segments WHERE staged = 0")]
        others = [
            (store.segments_folder, name) for (name,) in connection.execute("SELECT name FROM prefilters")
        ]
        others += [(store.models_folder, name) for (name,) in connection.execute("SELECT name FROM models")]
    for folder, name in [(store.segments_folder, name) for name in segments] + others:
        report.n_files += 1
        try:
            file = Container(folder / name, verify="off")
            for block in file.damaged_blocks():
                report.problems.append(
                    f"{name}: block {block} (section {file.section_of(block)!r}) is damaged"
                )
            if name in segments and report.problems:
                report.damaged_ids += _hit_documents(Segment(folder / name, verify="off"))
            elif name in segments:
                report.n_documents += Segment(folder / name, verify="off").n_docs
        except FileNotFoundError:
            report.problems.append(f"{name}: the file is missing")
        except ColsearchError as error:
            report.problems.append(str(error))


def _hit_documents(segment: Segment) -> list[DocId]:
    """Ids of the documents that own a byte of a damaged block."""
    damaged = set(segment.file.damaged_blocks())
    hit = []
    for ordinal in range(segment.n_docs):
        start, stop = int(segment.offsets[ordinal]), int(segment.offsets[ordinal + 1])
        for i, plane in enumerate(segment.planes):
            base = segment.file.first_block(f"plane{i}")
            row_bytes = plane.shape[1]
            blocks = range(
                base + start * row_bytes // BLOCK_BYTES, base + (stop * row_bytes - 1) // BLOCK_BYTES + 1
            )
            if damaged.intersection(blocks):
                hit.append(segment.id(ordinal))
                break
    return hit


def _check_ids(store: Store, report: CheckReport) -> None:
    with store.database.reading() as connection:
        # Above the visible documents are those of an unfinished build, which nobody sees.
        said = dict(
            connection.execute(
                "SELECT doc_no, id FROM documents"
                " WHERE doc_no <= (SELECT value FROM state WHERE key = 'visible')"
            )
        )
    held = {doc_no: id_key(document.id) for doc_no, document in _live_documents(store)}
    for doc_no in sorted(said.keys() | held.keys()):
        if said.get(doc_no) != held.get(doc_no):
            report.problems.append(
                f"document {doc_no}: SQLite says id {said.get(doc_no)}, the segment {held.get(doc_no)}"
            )


def _check_tables(store: Store, report: CheckReport) -> None:
    with store.database.locked() as connection:
        for (line,) in connection.execute("PRAGMA integrity_check").fetchall():
            if line != "ok":
                report.problems.append(f"SQLite: {line}")
    with store.database.reading() as connection:
        found: dict[int, set[tuple[Any, ...]]] = {}
        for path, kind, value, doc_no in connection.execute("SELECT path, kind, value, doc_no FROM fields"):
            found.setdefault(doc_no, set()).add((path, kind, value))
    for doc_no, document in _live_documents(store):
        if found.get(doc_no, set()) != field_rows(document.metadata):
            report.problems.append(
                f"document {document.id!r}: its metadata in SQLite differ from the segment's"
            )
    expected = _text_rows(store)
    sql = (
        "SELECT id FROM texts_docsize WHERE id <= (SELECT value FROM state WHERE key = 'visible') ORDER BY id"
    )
    with store.database.reading() as connection:
        size = [doc_no for (doc_no,) in connection.execute(sql)]
    if size != expected:
        report.problems.append("the text index covers other documents than the segments hold")
    if store.read_only:
        return
    try:
        with store.database.locked() as connection:
            connection.execute("INSERT INTO texts (texts) VALUES ('integrity-check')")
    except DamagedError as error:
        report.problems.append(f"text index: {error}")


def _text_rows(store: Store) -> list[int]:
    rows = []
    for part in store.snapshot().parts:
        # Dead documents leave the text index when their segment is rewritten.
        rows += [int(n) for n in part.segment.doc_nos[_with_text(part.segment)]]
    return rows


def _with_text(segment: Segment) -> list[int]:
    return [o for o in range(segment.n_docs) if segment.has_text[o] and segment.blob("texts", o)]


def _live_documents(store: Store) -> Iterator[tuple[int, Document]]:
    for part in store.snapshot().parts:
        for ordinal in _ordinals(part):
            yield int(part.segment.doc_nos[ordinal]), part.segment.document(int(ordinal))


def _ordinals(part: LiveSegment) -> Any:
    return np.arange(part.segment.n_docs) if part.live is None else np.flatnonzero(part.live)


def repair(store: Store) -> CheckReport:
    """Rebuild ids, metadata fields and the text index from the segments, and drop damaged prefilters."""
    report = CheckReport()
    with store.write_lock():
        with store.database.writing() as connection:
            _rebuild(connection, store)
            connection.execute("DELETE FROM prefilters")
            connection.execute("DELETE FROM models")
        store.changed()
        report.repaired.append("ids, metadata and text index rebuilt from the segments; prefilter dropped")
    after = check(store, deep=True)
    after.repaired = report.repaired
    return after


def _rebuild(connection: sqlite3.Connection, store: Store) -> None:
    connection.execute("DELETE FROM documents")
    connection.execute("DELETE FROM fields")
    connection.execute("INSERT INTO texts (texts) VALUES ('delete-all')")
    for part in store.snapshot().parts:
        index_documents(
            connection,
            (
                (int(part.segment.doc_nos[o]), part.segment.document(int(o)))
                for o in range(part.segment.n_docs)
            ),
        )
    connection.execute("DELETE FROM documents WHERE doc_no IN (SELECT doc_no FROM tombstones)")
