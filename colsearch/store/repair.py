"""Repairing an index: what is provably good stays, and index.sqlite is rebuilt from the segments."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np

from colsearch.errors import ColsearchError, DamagedError, FormatError, IndexNotFoundError, StorageError
from colsearch.store import files, tables
from colsearch.store.catalog import Catalog, read_catalog
from colsearch.store.check import CheckReport, check
from colsearch.store.container import Container
from colsearch.store.database import Database
from colsearch.store.folder import FileKind, IndexFolder
from colsearch.store.prefilter_file import open_prefilter
from colsearch.store.reader import SnapshotReader
from colsearch.store.segment import Segment
from colsearch.store.segment_writer import write_merged
from colsearch.store.stored_json import id_key
from colsearch.store.tables import PrefilterRow, SegmentRow
from colsearch.store.writer import Writer
from colsearch.types import DocId


@dataclass(slots=True)
class _Record:
    """The part of index.sqlite that can still be read.

    Attributes:
        catalog: the small tables, if they match their checksum.
        tombstones: numbers of dead documents, as far as they can be read.
        keys: number and `id_key` of the documents, as far as they can be read.
    """

    catalog: Catalog | None = None
    tombstones: set[int] = field(default_factory=set)
    keys: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Contents:
    """The content of the rebuilt index.sqlite.

    Attributes:
        segments: undamaged, in insertion order.
        live: `id_key` -> number of each live document.
        dead: numbers of dead documents.
        visible: the highest document number given out.
        prefilters: rows of the current model's undamaged files; none if the model is damaged.
    """

    segments: list[Segment]
    live: dict[str, int]
    dead: set[int]
    visible: int
    prefilters: list[PrefilterRow]


def repair_folder(path: str | os.PathLike[str]) -> CheckReport:
    """Repair an index that may be too damaged to be opened.

    Raises: IndexNotFoundError; IndexLockedError; FormatError; DamagedError: if nothing is left to rebuild
        the index from.
    """
    folder = IndexFolder(Path(path))
    if not folder.folder_of(FileKind.SEGMENT).is_dir():
        raise IndexNotFoundError(f"no index at {folder.path}: it has no folder of segments")
    models = folder.folder_of(FileKind.MODEL)
    if not files.anything_exists(models):
        # Models can be fitted again, and copies of an index often leave an empty folder out.
        try:
            files.make_folder(models)
            files.sync_folder(folder.path)
        except OSError as error:
            raise StorageError(error.errno, f"cannot make {models}: {error.strerror}") from error
    reader = SnapshotReader(folder, read_only=False)
    try:
        return repair(Writer(reader))
    finally:
        reader.close()


def repair(writer: Writer) -> CheckReport:
    """Copy the good documents of damaged segments, and rebuild index.sqlite; readers must open it again.

    Returns: the report of a deep check afterwards. Its `repaired` says what was done, and its `damaged_ids`
        are those of the lost documents.
    Raises: IndexLockedError; FormatError; StorageError; DamagedError: if nothing is left to rebuild it from.
    """
    with writer.lock():
        actions: list[str] = []
        record = _read_record(writer.database)
        segments = _readable_segments(writer.folder, record, actions)
        segments = _undamaged_segments(writer.folder, segments, actions)
        settings = record.catalog.settings if record.catalog else segments[0].settings if segments else None
        if not settings:
            raise DamagedError(f"{writer.folder.path}: neither index.sqlite nor a segment can be read")
        contents = _contents(writer.folder, record, segments)
        _rebuild(writer, record, contents, settings, actions)
        writer.reader.invalidate_snapshot()
        report = check(writer.reader, deep=True)
    report.repaired, report.damaged_ids = actions, _lost_ids(record, contents)
    return report


def _read_record(database: Database) -> _Record:
    record = _Record()
    try:
        with database.reading() as connection:
            record.catalog = read_catalog(connection)
    except FormatError:
        raise
    except (ColsearchError, FileNotFoundError):
        pass
    # Rows that come before a damaged page of these tables are kept.
    with suppress(ColsearchError, FileNotFoundError), database.reading() as connection:
        for doc_no in tables.raw_tombstones(connection):
            record.tombstones.add(doc_no)
    with suppress(ColsearchError, FileNotFoundError), database.reading() as connection:
        for doc_no, key in tables.ids(connection):
            record.keys[doc_no] = key
    return record


def _readable_segments(folder: IndexFolder, record: _Record, actions: list[str]) -> list[Segment]:
    """The segments that index.sqlite names; if it cannot be trusted, those of all files.

    Where files hold the same documents, the larger one is taken: it was merged from the others.
    """
    if record.catalog is not None:
        paths = [folder.path_of(FileKind.SEGMENT, row.name) for row in record.catalog.segments]
    else:
        actions.append(
            "index.sqlite could not be trusted: deletions and updates are taken from what it still says, "
            "and documents of a write that was not finished may be among those kept"
        )
        paths = folder.own_files(FileKind.SEGMENT)
    segments = []
    for path in paths:
        try:
            segments.append(Segment(path, verify="off", any_widths=True))
        except (ColsearchError, FileNotFoundError) as error:
            actions.append(f"{path.name} is lost: {error}")
    chosen: list[Segment] = []
    for segment in sorted(segments, key=lambda s: int(s.doc_nos[0] - s.doc_nos[-1])):
        if all(segment.doc_nos[-1] < c.doc_nos[0] or segment.doc_nos[0] > c.doc_nos[-1] for c in chosen):
            chosen.append(segment)
    return sorted(chosen, key=lambda segment: int(segment.doc_nos[0]))


def _undamaged_segments(
    folder: IndexFolder, segments: Sequence[Segment], actions: list[str]
) -> list[Segment]:
    """The segments without damage, and copies of the others without their damaged documents."""
    undamaged = []
    for segment in segments:
        blocks = segment.file.damaged_blocks()
        if not blocks:
            undamaged.append(segment)
            continue
        try:
            damaged = segment.damaged_documents(blocks)
        except DamagedError as error:
            actions.append(f"{segment.name} is lost: {error}")
            continue
        good = np.setdiff1d(np.arange(segment.n_docs), damaged)
        actions.append(f"{segment.name}: {len(good)} of {segment.n_docs} documents are good and were copied")
        if len(good):
            row = write_merged(folder, [segment], [good])
            undamaged.append(Segment(folder.path_of(FileKind.SEGMENT, row.name), verify="off"))
    return undamaged


def _contents(folder: IndexFolder, record: _Record, segments: list[Segment]) -> _Contents:
    live: dict[str, int] = {}
    dead = set()
    for segment in segments:
        for ordinal, doc_no in enumerate(segment.doc_nos.tolist()):
            key = id_key(segment.id(ordinal))
            # A document that has a tombstone and still its id is kept: one of the two tables is damaged.
            if doc_no in record.tombstones and record.keys.get(doc_no) != key:
                dead.add(doc_no)
                continue
            if key in live:
                dead.add(live[key])
            live[key] = doc_no
    visible = max([int(segment.doc_nos[-1]) for segment in segments], default=-1)
    prefilters = []
    if record.catalog is not None:
        visible = max(visible, record.catalog.visible)
        prefilters = _good_prefilters(folder, record.catalog, segments)
    return _Contents(segments, live, dead, visible, prefilters)


def _rebuild(
    writer: Writer, record: _Record, contents: _Contents, settings: dict[str, Any], actions: list[str]
) -> None:
    """Replace index.sqlite."""
    folder = writer.folder
    fill = _filler(folder, record, contents)
    writer.database.close()
    # A journal of the old database may be left, which SQLite would roll back into the new one.
    files.remove(folder.journal)
    files.sync_folder(folder.path)
    Database.create(folder, settings, fill).close()
    files.sync_folder(folder.path)
    actions.append(
        f"index.sqlite rebuilt from {len(contents.segments)} segments with {len(contents.live)} documents"
    )
    if record.catalog is not None and record.catalog.model is not None and not contents.prefilters:
        actions.append("the prefilter was dropped; `optimize` makes it anew")


def _filler(folder: IndexFolder, record: _Record, contents: _Contents) -> Callable[[Connection], None]:
    def fill(connection: Connection) -> None:
        tables.set_visible(connection, contents.visible)
        for segment in contents.segments:
            tables.insert_segment(connection, SegmentRow.describing(segment), staged=False)
            tables.insert_documents(connection, segment.numbered_documents())
        tables.bury(connection, sorted(contents.dead))
        if contents.prefilters and record.catalog is not None and record.catalog.model is not None:
            model = record.catalog.model
            n_bytes = files.size_bytes(folder.path_of(FileKind.MODEL, model.name))
            tables.insert_model(connection, model, n_bytes, current=True)
            for row in contents.prefilters:
                tables.insert_prefilter(connection, row)

    return fill


def _good_prefilters(
    folder: IndexFolder, catalog: Catalog, segments: Sequence[Segment]
) -> list[PrefilterRow]:
    """Rows of the current model's undamaged files; none if the model itself is damaged."""
    if catalog.model is None:
        return []
    try:
        Container(folder.path_of(FileKind.MODEL, catalog.model.name), verify="full")
    except (ColsearchError, FileNotFoundError):
        return []
    names = {segment.name for segment in segments}
    rows = []
    for (segment, model), name in catalog.prefilters.items():
        if segment not in names or model != catalog.model.name:
            continue
        try:
            path = folder.path_of(FileKind.PREFILTER, name)
            file = open_prefilter(path, segment, model, verify="full")
        except (ColsearchError, FileNotFoundError):
            continue
        rows.append(PrefilterRow(segment, model, name, file.n_bytes))
    return rows


def _lost_ids(record: _Record, contents: _Contents) -> list[DocId]:
    """Ids of the documents that index.sqlite named and no segment holds any more."""
    return [
        _decoded_id(key)
        for doc_no, key in sorted(record.keys.items())
        if doc_no <= contents.visible and key not in contents.live
    ]


def _decoded_id(key: str) -> DocId:
    """The id of a key that may be damaged itself."""
    try:
        id: DocId = json.loads(key)
    except (ValueError, TypeError):
        return repr(key)
    return id
