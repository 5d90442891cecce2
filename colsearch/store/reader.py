"""Reading an index: the newest snapshot, and its files, which stay open from one snapshot to the next."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import RLock
from typing import Any, TypeVar

import numpy as np

from colsearch.errors import ConfigError, DamagedError, FormatError, IndexClosedError, StorageError
from colsearch.store import fork, tables
from colsearch.store.catalog import Catalog, read_catalog
from colsearch.store.container import Container
from colsearch.store.database import Database
from colsearch.store.folder import FileKind, IndexFolder
from colsearch.store.prefilter_file import open_prefilter
from colsearch.store.segment import Segment
from colsearch.store.snapshot import FittedModel, LiveSegment, Snapshot
from colsearch.store.tables import ModelRow, SegmentRow
from colsearch.types import I64, DocId

_log = logging.getLogger(__name__)
T = TypeVar("T")
VERIFY = ("auto", "full", "off")
# A merge may remove a file between the moment its name is read and the moment it is opened.
_OPEN_TRIES = 20


class SnapshotReader:
    """Gives the newest snapshot of an index; threads may share it.

    Attributes:
        folder: where the index's files are.
        database: the SQLite file.
        settings: the index's settings, as the last snapshot read them.
    """

    def __init__(self, folder: IndexFolder, *, read_only: bool, verify: str = "auto") -> None:
        """Open no file yet.

        Args:
            verify: as `Container` takes it, for segments and prefilter files.
        Raises: ConfigError: for another `verify`; DamagedError: if a folder inside the index is missing.
        """
        if verify not in VERIFY:
            raise ConfigError(f"verify must be one of {VERIFY}, not {verify!r}")
        folder.check()
        self.folder = folder
        self.database = Database(folder, read_only=read_only)
        self.settings: dict[str, Any] = {}
        self._verify = verify
        self._lock = RLock()
        self._segments: dict[str, Segment] = {}
        self._prefilters: dict[str, Container] = {}
        self._model: FittedModel | None = None
        self._snapshot: tuple[tuple[int, int], Snapshot] | None = None
        self._n_invalidated = 0
        self._is_closed = False
        fork.watch(self)

    def close(self) -> None:
        """Close the files; mapped arrays that callers still hold stay valid."""
        self._is_closed = True
        self.database.close()
        self._segments, self._prefilters, self._model, self._snapshot = {}, {}, None, None

    def check_open(self) -> None:
        """Raises: IndexClosedError."""
        if self._is_closed:
            raise IndexClosedError(f"{self.folder.path} was closed; open it again")

    def snapshot(self) -> Snapshot:
        """The newest committed state; cheap when nothing has changed since the last call.

        Raises: DamagedError, FormatError, StorageError, IndexNotFoundError, IndexClosedError.
        """
        self.check_open()
        with self._lock:
            for _ in range(_OPEN_TRIES):
                version = self.database.data_version(), self._n_invalidated
                if self._snapshot and self._snapshot[0] == version:
                    return self._snapshot[1]
                try:
                    snapshot = self._read_snapshot()
                except FileNotFoundError as error:
                    missing = error.filename
                    continue
                self._snapshot = version, snapshot
                return snapshot
        raise DamagedError(f"{missing} is missing; restore it, or run `colsearch check --repair`")

    def filtered(self, where: Mapping[str, Any] | None) -> tuple[Snapshot, I64 | None]:
        """The newest snapshot, and the sorted doc_nos that match in it: both of the same commit.

        Raises: FilterError.
        """
        if where is None:
            return self.snapshot(), None
        self.check_open()
        with self._lock, self.database.reading():
            snapshot = self.snapshot()
            return snapshot, snapshot.where(where)

    def located(self, ids: Sequence[DocId], *, missing_ok: bool = False) -> tuple[Snapshot, I64]:
        """The newest snapshot, and the doc_nos that the ids have in it, in their order.

        Raises: UnknownIdError: naming the first id that no live document has.
        """
        self.check_open()
        with self._lock, self.database.reading():
            snapshot = self.snapshot()
            return snapshot, snapshot.find(ids, missing_ok=missing_ok)

    def open_segment(self, name: str) -> Segment:
        """A segment that SQLite names; one of the last snapshot is open already."""
        if name in self._segments:
            return self._segments[name]
        return Segment(self.folder.path_of(FileKind.SEGMENT, name), verify=self._verify)

    def staged_segments(self) -> list[str]:
        """Names of the segments of an unfinished add, which nobody sees, in insertion order."""
        with self.database.reading() as connection:
            return tables.staged_segments(connection)

    def invalidate_snapshot(self) -> None:
        """Read the next snapshot anew: SQLite's `data_version` does not see this process's own commits."""
        self._n_invalidated += 1

    # --- around a fork, see `fork`; the locks are taken in the order in which reads take them ------------

    def lock_for_fork(self) -> None:
        """Wait for the other threads' transactions, and let none begin."""
        self._lock.acquire()
        self.database.lock.acquire()

    def unlock_after_fork(self, *, in_child: bool) -> None:
        """Let transactions begin; a child opens its own connection."""
        self.database.lock.release()
        self._lock.release()

    # --- reading a snapshot ------------------------------------------------------------------------------

    def _read_snapshot(self) -> Snapshot:
        with self.database.reading() as connection:
            catalog = read_catalog(connection)
            # Files are opened inside the transaction: meanwhile no writer can commit a merge.
            segments = {row.name: self._checked_segment(row, catalog.settings) for row in catalog.segments}
            model = self._current_model(catalog.model)
            prefilters = self._open_prefilters(catalog, segments, model)
        self.settings, self._segments, self._model = catalog.settings, segments, model
        self._prefilters = {file.path.name: file for file in prefilters.values()}
        self._check_order(segments.values(), catalog.visible)
        live_segments = []
        for segment in segments.values():
            first, end = np.searchsorted(catalog.tombstones, [segment.doc_nos[0], segment.doc_nos[-1] + 1])
            dead = catalog.tombstones[first:end]
            live_segments.append(LiveSegment(segment, dead, prefilters.get(segment.name)))
        return Snapshot(self.database, live_segments, catalog.visible, model)

    def _checked_segment(self, row: SegmentRow, settings: dict[str, Any]) -> Segment:
        segment = self.open_segment(row.name)
        if SegmentRow.describing(segment) != row or segment.settings != settings:
            raise DamagedError(
                f"{segment.file.path} is not the segment that {self.database.path} describes; "
                "run `colsearch check --repair`"
            )
        return segment

    def _check_order(self, segments: Iterable[Segment], visible: int) -> None:
        last_doc_no, row_bytes = -1, None
        for segment in segments:
            if segment.doc_nos[0] <= last_doc_no or segment.doc_nos[-1] > visible:
                raise DamagedError(f"{segment.file.path}: its documents' numbers are another segment's")
            if row_bytes not in (None, segment.row_bytes):
                raise DamagedError(f"{segment.file.path}: its planes are not those of the other segments")
            last_doc_no, row_bytes = segment.doc_nos[-1], segment.row_bytes

    def _current_model(self, row: ModelRow | None) -> FittedModel | None:
        if row is None:
            return None
        model = self._model
        if model is not None and (model.name, model.notes) == (row.name, row.notes):
            return model

        def open_model() -> FittedModel:
            path = self.folder.path_of(FileKind.MODEL, row.name)
            return FittedModel(Container(path, verify="full"), row.notes)

        return self._unless_damaged(open_model)

    def _open_prefilters(
        self, catalog: Catalog, segments: Mapping[str, Segment], model: FittedModel | None
    ) -> dict[str, Container]:
        """The current model's files, by segment."""
        prefilters = {}
        for (segment, made_by), name in catalog.prefilters.items():
            if model is None or made_by != model.name or segment not in segments:
                continue

            def open_file(segment: str = segment, name: str = name, model: str = model.name) -> Container:
                path = self.folder.path_of(FileKind.PREFILTER, name)
                return self._prefilters.get(name) or open_prefilter(path, segment, model, verify=self._verify)

            file = self._unless_damaged(open_file)
            if file is not None:
                prefilters[segment] = file
        return prefilters

    def _unless_damaged(self, open_file: Callable[[], T]) -> T | None:
        """Open a file of the prefilter. Without it, searches scan until a write makes it again."""
        try:
            return open_file()
        except (DamagedError, FormatError, StorageError, FileNotFoundError) as error:
            _log.warning("%s: searching without a prefilter file: %s", self.folder.path, error)
            return None
