"""The SQLite file's connection and transactions; a commit here is what makes a write visible."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from colsearch.errors import DamagedError, FormatError, IndexNotFoundError, StorageError
from colsearch.store import files, schema, tables
from colsearch.store.catalog import seal
from colsearch.store.folder import IndexFolder


class Database:
    """One connection, used by one thread at a time, opened again after a fork.

    Attributes:
        path: the file.
        lock: held by the thread that uses the connection; a fork waits for it.
    """

    def __init__(self, folder: IndexFolder, *, read_only: bool) -> None:
        self.path = folder.database
        self.lock = threading.RLock()
        self._folder = folder
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._pid = -1

    @classmethod
    def create(
        cls,
        folder: IndexFolder,
        settings: dict[str, Any],
        fill: Callable[[sqlite3.Connection], None] = lambda connection: None,
    ) -> "Database":
        """Write a new file, durable before it gets its name.

        Args:
            fill: called within the transaction, to enter what the index holds.
        Raises: StorageError, DamagedError.
        """
        for path in folder.unfinished:
            files.remove(path)
        temporary = folder.unfinished[0]
        try:
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                schema.prepare_new(connection)
                schema.create(connection)
                connection.execute("BEGIN")
                tables.insert_state(connection, settings)
                fill(connection)
                seal(connection)
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _translated(error, temporary) from error
        # Raises if something that is no file has the name.
        files.file_exists(folder.database)
        files.replace(temporary, folder.database)
        return cls(folder, read_only=False)

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone; SQLite's errors are raised as ours."""
        with self.lock:
            try:
                yield self._connected()
            except sqlite3.Error as error:
                raise _translated(error, self.path) from error
            except UnicodeDecodeError as error:
                # SQLite's own messages quote what it read.
                raise DamagedError(f"{self.path}: {error}; run `colsearch check --repair`") from None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent read transaction; inside another transaction, a part of that one."""
        with self.locked() as connection:
            is_nested = connection.in_transaction
            if not is_nested:
                connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if not is_nested:
                    connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction: everything in it, or nothing. `Writer.transaction` is the only caller."""
        with self.locked() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                seal(connection)
                self._commit(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _commit(self, connection: sqlite3.Connection) -> None:
        """Commit.

        SQLite commits by removing its journal, and reports a failure if the folder's fsync fails afterwards.
        Raises: StorageError: saying that the write is done, if its journal cannot be kept from coming back.
        """
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_IOERR_DIR_FSYNC:
                raise
            try:
                # After an fsync that failed, another may succeed without writing anything. So commit again:
                # the second journal takes the place of the first, and undoes nothing. The seal is deleted
                # first because SQLite would notice that an UPDATE changes nothing.
                connection.execute("BEGIN IMMEDIATE")
                tables.delete_seal(connection)
                seal(connection)
                connection.execute("COMMIT")
            except sqlite3.Error as again:
                raise StorageError(
                    None, f"{self.path}: the write is done, but a power cut could undo it: {again}"
                ) from error

    def data_version(self) -> int:
        """A number that changes when another connection commits, but not with commits of this one."""
        with self.locked() as connection:
            return int(connection.execute(schema.DATA_VERSION).fetchone()[0])

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self.lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        # A connection must not cross a fork: the child opens its own and leaves the parent's alone.
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = self._connect(), os.getpid()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if not files.file_exists(self.path):
            raise IndexNotFoundError(f"no index at {self.path.parent}: {self.path.name} is missing")
        # The journal of a killed writer must be rolled back, which a read-only connection cannot do.
        must_roll_back = files.file_exists(self._folder.journal) and files.is_writable(self.path)
        mode = "ro" if self._read_only and not must_roll_back else "rw"
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            schema.prepare_existing(connection)
            self._check_version(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_version(self, connection: sqlite3.Connection) -> None:
        version = tables.format_version(connection)
        if not isinstance(version, int) or version < 1:
            raise DamagedError(f"{self.path} names no format version; was it written by colsearch?")
        if version > schema.SCHEMA_VERSION:
            raise FormatError(
                f"{self.path} has format {version}, this release reads up to {schema.SCHEMA_VERSION}; "
                "upgrade colindex"
            )


def _translated(error: sqlite3.Error, path: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
                sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM):  # fmt: skip
        return StorageError(None, f"{path}: {error}; nothing was changed")
    return DamagedError(f"{path}: {error}; run `colsearch check --repair`")
