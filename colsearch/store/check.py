"""Compare every checksum, and SQLite with the segments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colsearch.errors import ColsearchError, DamagedError, IndexNotFoundError
from colsearch.store.catalog import Catalog, read_catalog
from colsearch.store.check_tables import check_tables
from colsearch.store.container import Container
from colsearch.store.prefilter_file import open_prefilter
from colsearch.store.segment import Segment
from colsearch.store.snapshot import id_key
from colsearch.types import DocId

if TYPE_CHECKING:
    from colsearch.store.store import Store


@dataclass(slots=True)
class CheckReport:
    """What `check` looked at and found wrong; `ok` when nothing.

    Attributes:
        n_files, n_documents: looked at.
        problems: one sentence each, naming file, block or document.
        damaged_ids: documents whose stored bytes are wrong.
        unnamed_files: files that no commit names: left by a write that was killed, which the next write
            removes; or newer than an index.sqlite that was put back from a copy.
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
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok}


def check_folder(path: str | os.PathLike[str], *, deep: bool = False) -> CheckReport:
    """Check an index that may be too damaged to be opened.

    Raises: IndexNotFoundError.
    """
    from colsearch.store.store import Store

    folder = Path(path)
    if not folder.is_dir():
        raise IndexNotFoundError(f"no index at {folder}")
    store = Store(folder, read_only=not os.access(folder, os.W_OK), verify="auto")
    try:
        return check(store, deep=deep)
    finally:
        store.close()


def check(store: Store, *, deep: bool = False) -> CheckReport:
    """Verify all checksums; deep also compares SQLite's tables with the segments, row by row."""
    report = CheckReport()
    try:
        with store.database.reading() as connection:
            catalog = read_catalog(connection)
            _check_files(store, catalog, report)
            if report.ok:
                _check_ids(store, report)
    except (DamagedError, FileNotFoundError) as error:
        if isinstance(error, IndexNotFoundError):
            raise
        report.problems.append(str(error))
    if report.ok and deep:
        report.problems += check_tables(store)
    return report


def _check_files(store: Store, catalog: Catalog, report: CheckReport) -> None:
    known = set(store.staged_names())

    def look(path: Path, check_one: Callable[[Path], list[str]]) -> None:
        known.add(path.name)
        report.n_files += 1
        try:
            report.problems += check_one(path)
        except FileNotFoundError:
            report.problems.append(f"{path.name}: the file is missing")
        except ColsearchError as error:
            report.problems.append(str(error))

    for row in catalog.segments:
        look(store.path_of(store.segments_folder, row.name, ".seg"), partial(_check_segment, report))
    for (segment, model), name in catalog.prefilters.items():
        path = store.path_of(store.segments_folder, name, ".pre")
        look(path, lambda p: _damaged_blocks(open_prefilter(p, segment, model, verify="off")))  # noqa: B023
    if catalog.model is not None:
        path = store.path_of(store.models_folder, catalog.model[0], ".model")
        look(path, lambda p: _damaged_blocks(Container(p, verify="off")))
    for folder in (store.segments_folder, store.models_folder):
        report.unnamed_files += sorted(path.name for path in folder.iterdir() if path.name not in known)


def _check_segment(report: CheckReport, path: Path) -> list[str]:
    file = Container(path, verify="off")
    problems, blocks = _damaged_blocks(file), file.damaged_blocks()
    try:
        segment = Segment(path, verify="off", any_widths=bool(blocks))
        report.n_documents += segment.n_docs
        for ordinal in segment.damaged_documents(blocks):
            report.damaged_ids.append(segment.id(int(ordinal)))
    except DamagedError as error:
        # Most often what follows from a damaged block.
        problems.append(str(error))
    return problems


def _damaged_blocks(file: Container) -> list[str]:
    return [
        f"{file.path.name}: block {block} (section {file.section_of(block)!r}) is damaged"
        for block in file.damaged_blocks()
    ]


def _check_ids(store: Store, report: CheckReport) -> None:
    """Every id in SQLite against the segments', those of an unfinished build among them."""
    with store.database.reading() as connection:
        said = dict(connection.execute("SELECT doc_no, id FROM documents"))
    held = {doc_no: id_key(id) for doc_no, id in _live_ids(store)}
    # Not sorted: a number in a damaged table need not be one.
    for doc_no in [*held, *(said.keys() - held.keys())]:
        if said.get(doc_no) != held.get(doc_no):
            report.problems.append(
                f"document {doc_no}: SQLite says id {said.get(doc_no)}, the segment {held.get(doc_no)}"
            )


def _live_ids(store: Store) -> Iterator[tuple[int, DocId]]:
    for part in store.snapshot().segments:
        ordinals = np.arange(part.segment.n_docs) if part.live is None else np.flatnonzero(part.live)
        yield from ((int(part.segment.doc_nos[o]), part.segment.id(int(o))) for o in ordinals)
    for name in store.staged_names():
        segment = store.open_segment(name)
        yield from ((int(segment.doc_nos[o]), segment.id(o)) for o in range(segment.n_docs))
