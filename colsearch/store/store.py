"""The durable document store: the class through which the rest of the package reads and writes documents.

SQLite says what is committed, and immutable segments hold the documents. `reader` reads snapshots. `writer`
commits, and `staging`, `deletion`, `merging` and `models` are built on it; their functions say more about the
methods here. Nothing in this folder imports this module.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from colsearch.errors import IndexExistsError, IndexNotFoundError, StorageError
from colsearch.store import deletion, files, merging, models
from colsearch.store.check import CheckReport, check
from colsearch.store.container import Array
from colsearch.store.database import Database
from colsearch.store.folder import IndexFolder
from colsearch.store.reader import SnapshotReader
from colsearch.store.repair import repair
from colsearch.store.snapshot import Snapshot
from colsearch.store.staging import StagedWrite
from colsearch.store.writer import Writer
from colsearch.types import I64, DocId


class Store:
    """Documents in a folder; made by `create` or `open`.

    Attributes:
        reader, writer: the two halves, for tests; the methods are enough for everything else.
        folder: paths of the files.
        path: the folder.
        read_only: whether writes raise ReadOnlyError.
    """

    def __init__(self, folder: IndexFolder, *, read_only: bool, verify: str) -> None:
        self.reader = SnapshotReader(folder, read_only=read_only, verify=verify)
        self.writer = Writer(self.reader, read_only=read_only)
        self.folder = folder
        self.path = folder.path
        self.read_only = read_only
        try:
            self.reader.snapshot()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, path: str | os.PathLike[str], settings: dict[str, Any]) -> "Store":
        """Make an empty store in a folder that does not exist, or is empty.

        Raises: IndexExistsError, StorageError.
        """
        folder = IndexFolder(Path(path))
        try:
            folder.make()
            Database.create(folder, settings).close()
            files.sync_folder(folder.path)
            files.sync_folder(folder.path.absolute().parent)
        except (IndexExistsError, StorageError):
            raise
        except FileExistsError as error:
            raise IndexExistsError(f"{folder.path} exists and is not a folder") from error
        except OSError as error:
            # The last fsync may be what failed, and an index that may not last must not stay.
            files.remove(folder.database)
            raise StorageError(error.errno, f"cannot create {folder.path}: {error.strerror}") from error
        return cls(folder, read_only=False, verify="auto")

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, read_only: bool = False, verify: str = "auto") -> "Store":
        """Open a store; writes nothing.

        Raises: IndexNotFoundError, FormatError, DamagedError.
        """
        folder = IndexFolder(Path(path))
        if not folder.path.is_dir():
            raise IndexNotFoundError(f"no index at {folder.path}; make one with ColIndex.create")
        is_writable = files.is_writable(folder.path)
        return cls(folder, read_only=read_only or not is_writable, verify=verify)

    def close(self) -> None:
        """Close the files; mapped arrays that callers still hold stay valid."""
        self.reader.close()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the index was created with."""
        return self.reader.settings

    # --- reading ----------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The newest committed state; cheap when nothing has changed since the last call."""
        return self.reader.snapshot()

    def filtered(self, where: Mapping[str, Any] | None) -> tuple[Snapshot, I64 | None]:
        """The newest snapshot, and the sorted doc_nos that match in it; raises FilterError."""
        return self.reader.filtered(where)

    def located(self, ids: Sequence[DocId], *, missing_ok: bool = False) -> tuple[Snapshot, I64]:
        """The newest snapshot, and the doc_nos that the ids have in it; raises UnknownIdError."""
        return self.reader.located(ids, missing_ok=missing_ok)

    def check(self, *, deep: bool = False) -> CheckReport:
        """Verify all checksums; deep also compares SQLite's tables with the segments."""
        return check(self.reader, deep=deep)

    # --- writing ----------------------------------------------------------------------------------------

    def write_lock(self) -> AbstractContextManager[None]:
        """Be the only writer during a `with` block; raises IndexLockedError if another process writes."""
        return self.writer.lock()

    def begin(self, *, replace: bool = False, resume: bool = False) -> StagedWrite:
        """A staged add (or update, with replace); use it in a `with` block."""
        self.writer.check_writable()
        return StagedWrite(self.writer, replace=replace, resume=resume)

    def delete(self, ids: Sequence[DocId], *, purge: bool = False) -> int:
        """Delete documents by id, all or none; with purge every byte of them. Returns how many."""
        return deletion.delete(self.writer, ids, purge=purge)

    def compact(self) -> None:
        """Merge all segments into one, drop what was deleted, and give the disk space back."""
        merging.compact(self.writer)

    def repair(self) -> CheckReport:
        """Keep the good documents and rebuild index.sqlite; readers must open the index again."""
        return repair(self.writer)

    def put_model(self, arrays: dict[str, Array], meta: dict[str, Any]) -> str:
        """Store a model's arrays and return its name; no search uses it before it is adopted."""
        return models.put_model(self.writer, arrays, meta)

    def put_prefilter(self, segment: str, model: str, arrays: dict[str, Array]) -> None:
        """Store the arrays that a model computed from a segment, with one row per document."""
        models.put_prefilter(self.writer, segment, model, arrays)

    def adopt_model(self, name: str, notes: dict[str, Any]) -> None:
        """Make this model the current one, and remove all others with their prefilter files."""
        models.adopt_model(self.writer, name, notes)

    def forget_models(self, *, keep: str | None) -> None:
        """Remove all models but one, adopted or not, with their prefilter files."""
        models.forget_models(self.writer, keep=keep)
