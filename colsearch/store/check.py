"""Checking a whole index: every checksum, and SQLite against the segments."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from colsearch.errors import ColsearchError, DamagedError, IndexNotFoundError
from colsearch.store import files, tables
from colsearch.store.catalog import Catalog, read_catalog
from colsearch.store.check_tables import check_tables
from colsearch.store.container import Container
from colsearch.store.folder import FileKind, IndexFolder
from colsearch.store.prefilter_file import open_prefilter
from colsearch.store.reader import SnapshotReader
from colsearch.store.segment import Segment
from colsearch.store.stored_json import id_key
from colsearch.types import DocId


@dataclass(slots=True)
class CheckReport:
    """The findings of `check`; `ok` when nothing is wrong.

    Attributes:
        n_files, n_documents: how many were checked.
        problems: one sentence each, naming file, block or document.
        damaged_ids: documents whose stored bytes are wrong.
        unnamed_files: files that no commit names. A killed write leaves such files, and the next write
            removes them. They may also be newer than an index.sqlite that was put back from a copy.
        repaired: what `repair` did.
    """

    n_files: int = 0
    n_documents: int = 0
    problems: list[str] = field(default_factory=list)
    damaged_ids: list[DocId] = field(default_factory=list)
    unnamed_files: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON-ready dict."""
        return asdict(self) | {"ok": self.ok}


def check_folder(path: str | os.PathLike[str], *, deep: bool = False) -> CheckReport:
    """Check an index that may be too damaged to be opened.

    Raises: IndexNotFoundError, FormatError.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise IndexNotFoundError(f"no index at {folder}")
    reader = SnapshotReader(IndexFolder(folder), read_only=not files.is_writable(folder))
    try:
        return check(reader, deep=deep)
    finally:
        reader.close()


def check(reader: SnapshotReader, *, deep: bool = False) -> CheckReport:
    """Verify all checksums; deep also compares SQLite's tables with the segments, row by row.

    Raises: IndexNotFoundError, FormatError.
    """
    report = CheckReport()
    try:
        with reader.database.reading() as connection:
            catalog = read_catalog(connection)
            _check_files(reader, catalog, report)
            if report.ok:
                _check_ids(reader, dict(tables.ids(connection)), report)
    except (DamagedError, FileNotFoundError) as error:
        if isinstance(error, IndexNotFoundError):
            raise
        report.problems.append(str(error))
    if report.ok and deep:
        report.problems += check_tables(reader)
    return report


def _check_files(reader: SnapshotReader, catalog: Catalog, report: CheckReport) -> None:
    named = set(reader.staged_segments())

    def check_file(kind: FileKind, name: str, problems_of: Callable[[Path], list[str]]) -> None:
        path = reader.folder.path_of(kind, name)
        named.add(name)
        report.n_files += 1
        try:
            report.problems += problems_of(path)
        except FileNotFoundError:
            report.problems.append(f"{name}: the file is missing")
        except ColsearchError as error:
            report.problems.append(str(error))

    for row in catalog.segments:
        check_file(FileKind.SEGMENT, row.name, lambda path: _check_segment(path, report))
    for (segment, model), name in catalog.prefilters.items():

        def check_prefilter(path: Path, segment: str = segment, model: str = model) -> list[str]:
            return _damaged_blocks(open_prefilter(path, segment, model, verify="off"))

        check_file(FileKind.PREFILTER, name, check_prefilter)
    if catalog.model is not None:
        check_file(
            FileKind.MODEL, catalog.model.name, lambda path: _damaged_blocks(Container(path, verify="off"))
        )
    report.unnamed_files += reader.folder.unnamed_files(named)


def _check_segment(path: Path, report: CheckReport) -> list[str]:
    file = Container(path, verify="off")
    problems, blocks = _damaged_blocks(file), file.damaged_blocks()
    try:
        segment = Segment(path, verify="off", any_widths=bool(blocks))
        report.n_documents += segment.n_docs
        for ordinal in segment.damaged_documents(blocks):
            report.damaged_ids.append(segment.id(int(ordinal)))
    except DamagedError as error:
        # Most often this follows from a damaged block that is reported already.
        problems.append(str(error))
    return problems


def _damaged_blocks(file: Container) -> list[str]:
    return [
        f"{file.path.name}: block {block} (section {file.section_of(block)!r}) is damaged"
        for block in file.damaged_blocks()
    ]


def _check_ids(reader: SnapshotReader, sqlite_keys: dict[Any, Any], report: CheckReport) -> None:
    """Compare every id in SQLite with the segments' own, those of an unfinished add included."""
    segment_keys = {doc_no: id_key(id) for doc_no, id in _live_ids(reader)}
    # Not sorted: a number in a damaged table need not be a number.
    for doc_no in [*segment_keys, *(sqlite_keys.keys() - segment_keys.keys())]:
        in_sqlite, in_segment = sqlite_keys.get(doc_no), segment_keys.get(doc_no)
        if in_sqlite != in_segment:
            report.problems.append(f"document {doc_no}: SQLite says id {in_sqlite}, the segment {in_segment}")


def _live_ids(reader: SnapshotReader) -> Iterator[tuple[int, DocId]]:
    for live_segment in reader.snapshot().segments:
        segment = live_segment.segment
        for ordinal in live_segment.live_ordinals().tolist():
            yield int(segment.doc_nos[ordinal]), segment.id(ordinal)
    for name in reader.staged_segments():
        segment = reader.open_segment(name)
        for ordinal in range(segment.n_docs):
            yield int(segment.doc_nos[ordinal]), segment.id(ordinal)
