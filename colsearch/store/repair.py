"""Make an index whole again: what is provably good stays, index.sqlite is written anew from the segments."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colsearch.errors import ColsearchError, DamagedError, FormatError, IndexNotFoundError, StorageError
from colsearch.store import files
from colsearch.store.catalog import Catalog, read_catalog
from colsearch.store.check import CheckReport, check
from colsearch.store.container import Container
from colsearch.store.database import JOURNAL_NAME, Database
from colsearch.store.prefilter_file import open_prefilter
from colsearch.store.segment import Segment, write_merged
from colsearch.store.snapshot import id_key
from colsearch.store.tables import index_documents, numbered
from colsearch.types import DocId

if TYPE_CHECKING:
    from colsearch.store.store import Store


@dataclass(slots=True)
class _Record:
    """What can still be read of index.sqlite.

    Attributes:
        catalog: the small tables, if they match their checksum.
        tombstones: numbers of dead documents, as far as they can be read.
        ids: number and key of the documents, as far as they can be read.
    """

    catalog: Catalog | None = None
    tombstones: set[int] = field(default_factory=set)
    ids: dict[int, str] = field(default_factory=dict)


def repair_folder(path: str | os.PathLike[str]) -> CheckReport:
    """Repair an index that may be too damaged to be opened.

    Raises: IndexNotFoundError; IndexLockedError; FormatError; DamagedError: if nothing is left to rebuild it from.
    """
    from colsearch.store.store import Store

    folder = Path(path)
    if not (folder / "segments").is_dir():
        raise IndexNotFoundError(f"no index at {folder}: it has no folder of segments")
    models = folder / "models"
    if not os.path.lexists(models):
        # All in it can be made again, and copies of an index often leave an empty folder out.
        try:
            models.mkdir()
            files.sync_folder(folder)
        except OSError as error:
            raise StorageError(error.errno, f"cannot make {models}: {error.strerror}") from error
    store = Store(folder, read_only=False, verify="auto")
    try:
        return repair(store)
    finally:
        store.close()


def repair(store: Store) -> CheckReport:
    """Copy the good documents of damaged segments, and rebuild index.sqlite; readers must open it again.

    Returns: what a deep check finds afterwards, with `repaired` saying what was done and `damaged_ids` which
        documents are lost.
    """
    with store.write_lock():
        record = _read_record(store)
        done: list[str] = []
        segments = _whole(store, _segments(store, record, done), done)
        settings = record.catalog.settings if record.catalog else segments[0].settings if segments else None
        if not settings:
            raise DamagedError(f"{store.path}: neither index.sqlite nor a segment can be read")
        lost = _rebuild(store, record, segments, settings, done)
        store.invalidate_snapshot()
        report = check(store, deep=True)
    report.repaired, report.damaged_ids = done, lost
    return report


def _read_record(store: Store) -> _Record:
    record = _Record()
    try:
        with store.database.reading() as connection:
            record.catalog = read_catalog(connection)
    except FormatError:
        raise
    except (ColsearchError, FileNotFoundError):
        pass
    for sql, take in (
        ("SELECT doc_no, NULL FROM tombstones", lambda n, _: record.tombstones.add(n)),
        ("SELECT doc_no, id FROM documents", record.ids.__setitem__),
    ):
        try:
            with store.database.reading() as connection:
                for row in connection.execute(sql):
                    take(*row)
        except (ColsearchError, FileNotFoundError):
            continue
    return record


def _segments(store: Store, record: _Record, done: list[str]) -> list[Segment]:
    """Those that index.sqlite names, if it can be trusted; else all files, a merged one before its parts."""
    if record.catalog is not None:
        paths = [store.path_of(store.segments_folder, row.name, ".seg") for row in record.catalog.segments]
    else:
        done.append(
            "index.sqlite could not be trusted: deletions and updates are taken from what it still says, "
            "and documents of a write that was not finished may be among those kept"
        )
        paths = sorted(
            p for p in store.segments_folder.iterdir() if store.is_own_file(p) and p.suffix == ".seg"
        )
    segments = []
    for path in paths:
        try:
            segments.append(Segment(path, verify="off", any_widths=True))
        except (ColsearchError, FileNotFoundError) as error:
            done.append(f"{path.name} is lost: {error}")
    chosen: list[Segment] = []
    for segment in sorted(segments, key=lambda s: int(s.doc_nos[0] - s.doc_nos[-1])):
        if all(segment.doc_nos[-1] < c.doc_nos[0] or segment.doc_nos[0] > c.doc_nos[-1] for c in chosen):
            chosen.append(segment)
    return sorted(chosen, key=lambda segment: int(segment.doc_nos[0]))


def _whole(store: Store, segments: Sequence[Segment], done: list[str]) -> list[Segment]:
    """The segments without damage, and copies of the others without their damaged documents."""
    whole = []
    for segment in segments:
        blocks = segment.file.damaged_blocks()
        if not blocks:
            whole.append(segment)
            continue
        try:
            hit = segment.damaged_documents(blocks)
        except DamagedError as error:
            done.append(f"{segment.name} is lost: {error}")
            continue
        good = np.setdiff1d(np.arange(segment.n_docs), hit)
        done.append(f"{segment.name}: {len(good)} of {segment.n_docs} documents are good and were copied")
        if len(good):
            name, _ = write_merged(store.segments_folder, [segment], [good])
            whole.append(Segment(store.segments_folder / name, verify="off"))
    return whole


def _rebuild(
    store: Store, record: _Record, segments: Sequence[Segment], settings: dict[str, Any], done: list[str]
) -> list[DocId]:
    """Write index.sqlite; returns the ids of documents that it named and no segment holds any more."""
    live: dict[str, int] = {}
    dead = set()
    for segment in segments:
        for ordinal, doc_no in enumerate(segment.doc_nos.tolist()):
            key = id_key(segment.id(ordinal))
            # Where the two tables contradict each other, one of them is damaged, and a document is kept.
            if doc_no in record.tombstones and record.ids.get(doc_no) != key:
                dead.add(doc_no)
                continue
            if key in live:
                dead.add(live[key])
            live[key] = doc_no
    visible = max([segment.doc_nos[-1] for segment in segments], default=-1)
    if record.catalog is not None:
        visible = max(visible, record.catalog.visible)
    prefilters = _good_prefilters(store, record.catalog, segments) if record.catalog else []

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE state SET value = ? WHERE key = 'visible'", (int(visible),))
        for segment in segments:
            row = (
                int(segment.doc_nos[0]),
                segment.name,
                segment.n_docs,
                segment.n_tokens,
                segment.file.n_bytes,
            )
            connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, 0)", row)
            index_documents(connection, numbered(segment, np.arange(segment.n_docs)))
        connection.executemany("INSERT INTO tombstones VALUES (?)", [(doc_no,) for doc_no in sorted(dead)])
        connection.execute("DELETE FROM documents WHERE doc_no IN (SELECT doc_no FROM tombstones)")
        if prefilters and record.catalog is not None and record.catalog.model is not None:
            name, notes = record.catalog.model
            n_bytes = (store.models_folder / name).stat().st_size
            connection.execute("INSERT INTO models VALUES (?, ?, 1, ?)", (name, n_bytes, notes))
            connection.executemany("INSERT INTO prefilters VALUES (?, ?, ?, ?)", prefilters)

    store.database.close()
    # Of a file that could not be opened: SQLite would roll it back into the new one.
    files.remove(store.path / JOURNAL_NAME)
    files.sync_folder(store.path)
    Database.create(store.path, settings, fill).close()
    files.sync_folder(store.path)
    done.append(f"index.sqlite rebuilt from {len(segments)} segments with {len(live)} documents")
    if record.catalog is not None and record.catalog.model is not None and not prefilters:
        done.append("the prefilter was dropped; `optimize` makes it anew")
    lost = [key for doc_no, key in sorted(record.ids.items()) if doc_no <= visible and key not in live]
    return [_id_of(key) for key in lost]


def _id_of(key: str) -> DocId:
    """The id of a key that may be damaged itself."""
    try:
        id: DocId = json.loads(key)
    except (ValueError, TypeError):
        return repr(key)
    return id


def _good_prefilters(
    store: Store, catalog: Catalog, segments: Sequence[Segment]
) -> list[tuple[str, str, str, int]]:
    """Rows of the current model's undamaged files; none if the model itself is damaged."""
    names = {segment.name for segment in segments}
    rows = []
    try:
        if catalog.model is None:
            return []
        Container(store.path_of(store.models_folder, catalog.model[0], ".model"), verify="full")
    except (ColsearchError, FileNotFoundError):
        return []
    for (segment, model), name in catalog.prefilters.items():
        if segment not in names or model != catalog.model[0]:
            continue
        try:
            file = open_prefilter(
                store.path_of(store.segments_folder, name, ".pre"), segment, model, verify="full"
            )
        except (ColsearchError, FileNotFoundError):
            continue
        rows.append((segment, model, name, file.n_bytes))
    return rows
