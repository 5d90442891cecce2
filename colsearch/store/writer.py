"""Writing to an index: the writer's lock, and transactions that end with a seal and a new snapshot."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from colsearch.errors import ReadOnlyError
from colsearch.store import tables
from colsearch.store.folder import FileKind
from colsearch.store.lock import WriterLock
from colsearch.store.reader import SnapshotReader


class Writer:
    """What every change of an index goes through.

    Attributes:
        reader: of the same index; it sees each change as soon as it is committed.
        folder, database: the reader's.
        read_only: whether the index was opened without leave to write.
    """

    def __init__(self, reader: SnapshotReader, *, read_only: bool = False) -> None:
        self.reader = reader
        self.folder = reader.folder
        self.database = reader.database
        self.read_only = read_only
        self._lock = WriterLock(reader.folder.lock)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer during a `with` block; blocks may be nested.

        Raises: IndexLockedError: at once, if another process writes; ReadOnlyError, IndexClosedError,
            StorageError.
        """
        self.check_writable()
        with self._lock.held():
            yield

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One durable change of the tables: lock, begin, body, seal, commit, and forget the cached snapshot.

        It works on an index that was closed meanwhile, so that a write that failed can be undone.
        Raises: IndexLockedError; StorageError: nothing was changed, unless it says that a power cut could
            undo it.
        """
        with self._lock.held():
            try:
                with self.database.writing() as connection:
                    yield connection
            finally:
                # Also after an error, because a commit may have been done and then have failed to last.
                self.reader.invalidate_snapshot()

    def check_writable(self) -> None:
        """Raises: ReadOnlyError, IndexClosedError."""
        self.reader.check_open()
        if self.read_only:
            raise ReadOnlyError(
                f"{self.folder.path} was opened read-only; open it without read_only to write"
            )

    def sweep(self) -> None:
        """Remove the files that the index wrote and that no row of SQLite names any more."""
        with self.database.reading() as connection:
            names = tables.file_names(connection)
        self.folder.sweep(
            {
                FileKind.SEGMENT: names.segments,
                FileKind.PREFILTER: names.prefilters,
                FileKind.MODEL: names.models,
            }
        )
