"""The durable document store: SQLite says what is committed, immutable segments hold the rest."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import numpy as np

from colsearch.errors import (
    ConfigError,
    DamagedError,
    FormatError,
    IndexClosedError,
    IndexExistsError,
    IndexNotFoundError,
    ReadOnlyError,
    StorageError,
)
from colsearch.store import container, files, merging
from colsearch.store import fork as forking
from colsearch.store.catalog import SegmentRow, read_catalog
from colsearch.store.container import Array, Container, Section
from colsearch.store.database import FILE_NAME, UNFINISHED_NAMES, Database
from colsearch.store.lock import WriterLock
from colsearch.store.prefilter_file import SUFFIX as PREFILTER_SUFFIX
from colsearch.store.prefilter_file import open_prefilter, write_prefilter
from colsearch.store.segment import Segment
from colsearch.store.snapshot import FittedModel, LiveSegment, Snapshot
from colsearch.store.staging import StagedWrite
from colsearch.store.tables import collect
from colsearch.types import I64, DocId

_log = logging.getLogger(__name__)
T = TypeVar("T")
VERIFY = ("auto", "full", "off")
MODEL_SUFFIX = ".model"
_OWN_NAME = re.compile(r"[0-9a-f]{32}\.(seg|pre|model)|[0-9a-f]+-[0-9a-f]+\.tmp")
# A merge may remove a file between the moment its name is read and the moment it is opened.
_OPEN_TRIES = 20


class Store:
    """Documents in a folder; made by `create` or `open`."""

    def __init__(self, path: Path, *, read_only: bool, verify: str) -> None:
        if verify not in VERIFY:
            raise ConfigError(f"verify must be one of {VERIFY}, not {verify!r}")
        self.path = path
        self.read_only = read_only
        self.segments_folder = path / "segments"
        self.models_folder = path / "models"
        self.database = Database(path, read_only=read_only)
        self._verify = verify
        self._lock = WriterLock(path)
        self._cache_lock = RLock()
        self._files: dict[str, Segment] = {}
        self._model: FittedModel | None = None
        self._prefilters: dict[str, Container] = {}
        self._snapshot: tuple[int, int, Snapshot] | None = None
        self._own_writes = 0
        self._closed = False
        self.settings: dict[str, Any] = {}
        forking.watch(self)
        for subfolder in (self.segments_folder, self.models_folder):
            if not files.check_kind(subfolder, stat.S_ISDIR, "folder") and (path / FILE_NAME).is_file():
                raise DamagedError(f"{subfolder} is missing; restore it, or run `colsearch check --repair`")

    @classmethod
    def create(cls, path: str | os.PathLike[str], settings: dict[str, Any]) -> Store:
        """Make an empty store in a folder that does not exist, or is empty.

        Raises: IndexExistsError, StorageError.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not _holds_only_a_killed_create(folder):
                raise IndexExistsError(f"{folder} is not empty; open it, or choose another folder")
            (folder / "segments").mkdir(exist_ok=True)
            (folder / "models").mkdir(exist_ok=True)
            Database.create(folder, settings).close()
            files.sync_folder(folder)
            files.sync_folder(folder.absolute().parent)
        except (IndexExistsError, StorageError):
            raise
        except FileExistsError as error:
            raise IndexExistsError(f"{folder} exists and is not a folder") from error
        except OSError as error:
            # The last fsync may be what failed: an index that may not last must not stay.
            files.remove(folder / FILE_NAME)
            raise StorageError(error.errno, f"cannot create {folder}: {error.strerror}") from error
        return cls._opened(folder, read_only=False, verify="auto")

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, read_only: bool = False, verify: str = "auto") -> Store:
        """Open a store; writes nothing.

        Raises: IndexNotFoundError, FormatError, DamagedError.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise IndexNotFoundError(f"no index at {folder}; make one with ColIndex.create")
        return cls._opened(folder, read_only=read_only or not os.access(folder, os.W_OK), verify=verify)

    @classmethod
    def _opened(cls, folder: Path, *, read_only: bool, verify: str) -> Store:
        store = cls(folder, read_only=read_only, verify=verify)
        try:
            store.snapshot()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Let go of the files; mapped arrays that callers still hold stay valid."""
        self._closed = True
        self.database.close()
        self._files, self._prefilters, self._model, self._snapshot = {}, {}, None, None

    # --- a fork, see `forking` ------------------------------------------------------------------

    def lock_for_fork(self) -> None:
        """Wait for the other threads' transactions, and let none begin; in the order that reads take the locks."""
        self._cache_lock.acquire()
        self.database.lock.acquire()

    def unlock_after_fork(self) -> None:
        self.database.lock.release()
        self._cache_lock.release()

    def drop_writer_lock(self) -> None:
        self._lock.forget()

    # --- reading ------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The newest committed state; cheap when nothing has changed since the last call."""
        self._check_open()
        with self._cache_lock:
            for _ in range(_OPEN_TRIES):
                version = self.database.data_version()
                if self._snapshot and self._snapshot[:2] == (version, self._own_writes):
                    return self._snapshot[2]
                try:
                    self._snapshot = (version, self._own_writes, self._read_snapshot())
                except FileNotFoundError as error:
                    missing = error.filename
                    continue
                return self._snapshot[2]
        raise DamagedError(f"{missing} is missing; restore it, or run `colsearch check --repair`")

    def _read_snapshot(self) -> Snapshot:
        with self.database.reading() as connection:
            catalog = read_catalog(connection)
            # Opened inside the transaction: no writer can commit a merge meanwhile.
            files = {row.name: self._listed(row, catalog.settings) for row in catalog.segments}
            model = (
                None if catalog.model is None else self._derived(partial(self._current_model, *catalog.model))
            )
            prefilters = {
                segment: self._derived(partial(self._open_prefilter, name, segment, of))
                for (segment, of), name in catalog.prefilters.items()
                if model is not None and of == model.name and segment in files
            }
        self.settings, self._files = catalog.settings, files
        self._prefilters = {file.path.name: file for file in prefilters.values() if file}
        parts, last = [], -1
        for segment in files.values():
            if segment.doc_nos[0] <= last or segment.doc_nos[-1] > catalog.visible:
                raise DamagedError(f"{segment.file.path}: its documents' numbers are another segment's")
            last = segment.doc_nos[-1]
            if segment.row_bytes != next(iter(files.values())).row_bytes:
                raise DamagedError(f"{segment.file.path}: its planes are not those of the other segments")
            bounds = np.searchsorted(catalog.tombstones, [segment.doc_nos[0], last + 1])
            dead = catalog.tombstones[slice(*bounds)]
            parts.append(LiveSegment(segment, dead, prefilters.get(segment.name)))
        return Snapshot(self.database, parts, catalog.visible, model)

    def _listed(self, row: SegmentRow, settings: dict[str, Any]) -> Segment:
        segment = self.open_segment(row.name)
        found = SegmentRow(segment.name, int(segment.doc_nos[0]), segment.n_docs, segment.n_tokens)
        if found != row or segment.settings != settings:
            raise DamagedError(
                f"{segment.file.path} is not the segment that {self.database.path} describes; "
                "run `colsearch check --repair`"
            )
        return segment

    def filtered(self, where: Mapping[str, Any] | None) -> tuple[Snapshot, I64 | None]:
        """The newest snapshot, and the sorted doc_nos that match in it: both of the same commit.

        Raises: FilterError.
        """
        if where is None:
            return self.snapshot(), None
        self._check_open()
        with self._cache_lock, self.database.reading():
            snapshot = self.snapshot()
            return snapshot, snapshot.where(where)

    def located(self, ids: Sequence[DocId], *, missing_ok: bool = False) -> tuple[Snapshot, I64]:
        """The newest snapshot, and the doc_nos that the ids have in it, in their order.

        Raises: UnknownIdError: naming the first id that no live document has.
        """
        self._check_open()
        with self._cache_lock, self.database.reading():
            snapshot = self.snapshot()
            return snapshot, snapshot.find(ids, missing_ok=missing_ok)

    def open_segment(self, name: str) -> Segment:
        """A segment by its file name, checked to be one of ours."""
        if name in self._files:
            return self._files[name]
        return Segment(self.path_of(self.segments_folder, name, ".seg"), verify=self._verify)

    def is_own_file(self, path: Path) -> bool:
        """Whether the index wrote this file: a plain file with one of our names."""
        return bool(_OWN_NAME.fullmatch(path.name)) and stat.S_ISREG(path.lstat().st_mode)

    def staged_names(self) -> list[str]:
        """Segments of an unfinished build, which nobody sees."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT name FROM segments WHERE staged = 1 ORDER BY first_doc_no")
            return [name for (name,) in rows]

    def path_of(self, folder: Path, name: object, suffix: str) -> Path:
        """The path of a file that SQLite names.

        Raises: DamagedError: if the name is not one that the index gives.
        """
        if not isinstance(name, str) or not _OWN_NAME.fullmatch(name) or not name.endswith(suffix):
            raise DamagedError(f"{self.database.path} names the file {name!r:.80}, which is not one of ours")
        return folder / name

    # --- writing ------------------------------------------------------------------------------

    def begin(self, *, replace: bool = False, resume: bool = False) -> StagedWrite:
        """A staged add (or update, with replace); use it in a `with` block."""
        self._check_writable()
        return StagedWrite(self, replace=replace, resume=resume)

    def delete(self, ids: Sequence[DocId], *, purge: bool = False) -> int:
        """Delete documents by id, all or none; with purge no byte of them stays in any file.

        Raises: UnknownIdError; StorageError: nothing was deleted, or, if it says so, bytes of it remain.
        """
        self._check_writable()
        with self.write_lock():
            doc_nos = np.unique(self.snapshot().find(ids))
            rows = [(int(doc_no),) for doc_no in doc_nos]
            with self.database.writing() as connection:
                connection.executemany("DELETE FROM documents WHERE doc_no = ?", rows)
                connection.executemany("INSERT OR IGNORE INTO tombstones VALUES (?)", rows)
            if purge:
                self.invalidate_snapshot()
                merging.purge(self)
            else:
                self.after_write()
        return len(doc_nos)

    def compact(self) -> None:
        """Merge all segments into one, drop what was deleted, and give the room back."""
        self._check_writable()
        with self.write_lock():
            merging.merge(self, list(self.snapshot().segments))
            merging.vacuum(self)

    def write_lock(self) -> AbstractContextManager[None]:
        self._check_writable()
        return self._lock.held()

    def after_write(self) -> None:
        """Called with the lock held when documents were committed: a merge that fails is no failed write."""
        self.invalidate_snapshot()
        try:
            merging.merge_small(self)
        except (StorageError, DamagedError, MemoryError) as error:
            _log.warning("%s: a merge was put off until the next write: %s", self.path, error)

    def invalidate_snapshot(self) -> None:
        """Forget the cached snapshot: `data_version` does not see our own commits."""
        self._own_writes += 1

    # --- models and prefilters -----------------------------------------------------------------

    def put_model(self, arrays: dict[str, Array], meta: dict[str, Any]) -> str:
        """Store a model's arrays and return its name; nobody uses it before it is adopted."""
        sections = [Section.of(name, array) for name, array in arrays.items()]
        with self.write_lock():
            name, n_bytes = container.write(self.models_folder, MODEL_SUFFIX, sections, meta)
            with self.database.writing() as connection:
                connection.execute("INSERT OR REPLACE INTO models VALUES (?, ?, 0, '{}')", (name, n_bytes))
            self.invalidate_snapshot()
        return name

    def put_prefilter(self, segment: str, model: str, arrays: dict[str, Array]) -> None:
        """Store what a model makes of a segment: arrays with one row per document."""
        with self.write_lock():
            name, n_bytes = write_prefilter(self.segments_folder, segment, model, arrays)
            with self.database.writing() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO prefilters VALUES (?, ?, ?, ?)", (segment, model, name, n_bytes)
                )
            self.invalidate_snapshot()

    def adopt_model(self, name: str, notes: dict[str, Any]) -> None:
        """Make this model the current one, and forget all others and what they made.

        Args:
            notes: JSON-ready, what was measured of the model on these documents.
        """
        with self.write_lock():
            with self.database.writing() as connection:
                connection.execute("DELETE FROM models WHERE name <> ?", (name,))
                connection.execute("UPDATE models SET current = 1, notes = ?", (json.dumps(notes),))
                connection.execute("DELETE FROM prefilters WHERE model <> ?", (name,))
            self.invalidate_snapshot()
            collect(self)

    def forget_models(self, *, keep: str | None) -> None:
        """Remove all models but one, adopted or not, and what they made of segments."""
        with self.write_lock():
            with self.database.reading() as connection:
                others = connection.execute("SELECT 1 FROM models WHERE name IS NOT ?", (keep,)).fetchone()
            if others is None:
                return
            with self.database.writing() as connection:
                connection.execute("DELETE FROM models WHERE name IS NOT ?", (keep,))
                connection.execute("DELETE FROM prefilters WHERE model IS NOT ?", (keep,))
            self.invalidate_snapshot()
            collect(self)

    def _derived(self, open_file: Callable[[], T]) -> T | None:
        """What can be made again: damaged, gone or refused, searches scan until a write makes it anew."""
        try:
            return open_file()
        except (DamagedError, FormatError, StorageError, FileNotFoundError) as error:
            _log.warning("%s: searching without a prefilter file: %s", self.path, error)
            return None

    def _current_model(self, name: object, notes: str) -> FittedModel:
        path = self.path_of(self.models_folder, name, MODEL_SUFFIX)
        if self._model is not None and (self._model.name, self._model.notes) == (name, notes):
            return self._model
        self._model = FittedModel(Container(path, verify="full"), notes)
        return self._model

    def _open_prefilter(self, name: str, segment: str, model: str) -> Container:
        path = self.path_of(self.segments_folder, name, PREFILTER_SUFFIX)
        return self._prefilters.get(name) or open_prefilter(path, segment, model, verify=self._verify)

    def _check_open(self) -> None:
        if self._closed:
            raise IndexClosedError(f"{self.path} was closed; open it again")

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise ReadOnlyError(f"{self.path} was opened read-only; open it without read_only to write")


def _holds_only_a_killed_create(folder: Path) -> bool:
    """Whether nothing is in the folder but what a `create` that was killed can leave there."""
    for path in folder.iterdir():
        leftover = path.name in {"segments", "models"} and path.is_dir() and not any(path.iterdir())
        if not leftover and path.name not in UNFINISHED_NAMES:
            return False
    return True
