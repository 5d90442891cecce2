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
    """The one way to change an index.

    Attributes:
        reader: the same index's reader, which sees each change as soon as it is committed.
        folder, database: the reader's.
        read_only: whether writes raise ReadOnlyError.
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
        """One durable change of the tables: lock, begin, body, seal, commit, then invalidate the snapshot.

        A closed index accepts transactions, so that a write during which it was closed can be undone.
        Raises: IndexLockedError; StorageError: nothing was changed, unless it says that a power cut could
            undo it.
        """
        with self._lock.held():
            try:
                with self.database.writing() as connection:
                    yield connection
            finally:
                # Also after an error, because some errors come after the commit was done.
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
