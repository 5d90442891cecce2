"""The SQLite file: what is looked up or changes, and the one transaction that makes a write visible."""

import json
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from colsearch.errors import DamagedError, FormatError, IndexNotFoundError, StorageError
from colsearch.store import files
from colsearch.store.catalog import seal

FILE_NAME = "index.sqlite"
# What a killed `create` leaves: the file before it gets its name, and SQLite's journal of it.
UNFINISHED_NAMES = (f"{FILE_NAME}.new", f"{FILE_NAME}.new-journal")
JOURNAL_NAME = f"{FILE_NAME}-journal"
FORMAT_VERSION = 1
_CHUNK = 500
# A rollback journal, not WAL: a closed WAL database does not open in a read-only folder. With it a commit is
# the removal of the journal, which FULL leaves to the next sync of the folder: a power cut would bring the
# journal back and undo acknowledged writes, of which a merge may have removed the files. EXTRA syncs.
SCHEMA = """
CREATE TABLE state (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (first_doc_no INTEGER PRIMARY KEY, name TEXT NOT NULL, n_docs INTEGER NOT NULL,
    n_tokens INTEGER NOT NULL, n_bytes INTEGER NOT NULL, staged INTEGER NOT NULL);
CREATE TABLE documents (doc_no INTEGER PRIMARY KEY, id TEXT NOT NULL);
CREATE INDEX documents_by_id ON documents (id);
CREATE TABLE tombstones (doc_no INTEGER PRIMARY KEY);
CREATE TABLE replaced (doc_no INTEGER PRIMARY KEY);
CREATE TABLE fields (path TEXT NOT NULL, kind TEXT NOT NULL, value NOT NULL, doc_no INTEGER NOT NULL,
    PRIMARY KEY (path, kind, value, doc_no)) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5 (text, content='', tokenize='porter unicode61');
CREATE TABLE models (name TEXT PRIMARY KEY, n_bytes INTEGER NOT NULL, current INTEGER NOT NULL,
    notes TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE prefilters (segment TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL,
    n_bytes INTEGER NOT NULL, PRIMARY KEY (segment, model)) WITHOUT ROWID;
"""


class Database:
    """One connection, used by one thread at a time, opened again after a fork."""

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self.path = folder / FILE_NAME
        self._read_only = read_only
        self.lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = -1
        self._n_unsure = 0

    @classmethod
    def create(
        cls, folder: Path, settings: dict[str, Any], fill: Callable[[sqlite3.Connection], None] | None = None
    ) -> "Database":
        """A new file with the schema, and what `fill` writes, made durable before it gets its name."""
        for name in UNFINISHED_NAMES:
            files.remove(folder / name)
        temporary = folder / UNFINISHED_NAMES[0]
        rows = {"format_version": FORMAT_VERSION, "settings": json.dumps(settings), "visible": -1}
        try:
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
                connection.execute("BEGIN")
                connection.executemany("INSERT INTO state VALUES (?, ?)", rows.items())
                if fill is not None:
                    fill(connection)
                seal(connection)
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _translated(error, temporary) from error
        files.check_kind(folder / FILE_NAME, stat.S_ISREG, "file")
        temporary.replace(folder / FILE_NAME)
        return cls(folder, read_only=False)

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone; SQLite's errors come out as ours."""
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
        """One consistent read transaction."""
        with self.locked() as connection:
            nested = connection.in_transaction
            if not nested:
                connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if not nested:
                    connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction: everything in it, or nothing."""
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
        """SQLite commits by removing its journal; it calls it a failure if the fsync of the folder then fails.

        Raises: StorageError: saying that the write is done, if its journal cannot be kept from coming back.
        """
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_IOERR_DIR_FSYNC:
                raise
            self._n_unsure += 1
            try:
                # An fsync may succeed for nothing after one that failed. Another journal of the same name takes the
                # place of the first, and undoes nothing. (SQLite would see that an UPDATE changes nothing.)
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("DELETE FROM state WHERE key = 'seal'")
                seal(connection)
                connection.execute("COMMIT")
            except sqlite3.Error as again:
                raise StorageError(
                    None, f"{self.path}: the write is done, but a power cut could undo it: {again}"
                ) from error

    def data_version(self) -> int:
        """A number that changes when another connection commits, or when a commit of ours went on after an error."""
        with self.locked() as connection:
            return int(connection.execute("PRAGMA data_version").fetchone()[0]) + (self._n_unsure << 32)

    def close(self) -> None:
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
        if not files.check_kind(self.path, stat.S_ISREG, "file"):
            raise IndexNotFoundError(f"no index at {self.path.parent}: {FILE_NAME} is missing")
        has_journal = files.check_kind(self.path.with_name(JOURNAL_NAME), stat.S_ISREG, "file")
        # A hot journal of a killed writer must be rolled back, which a read-only connection cannot do.
        mode = "ro" if self._read_only and not (has_journal and os.access(self.path, os.W_OK)) else "rw"
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            self._check_version(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_version(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT value FROM state WHERE key = 'format_version'").fetchone()
        if row is None or not isinstance(row[0], int) or row[0] < 1:
            raise DamagedError(f"{self.path} names no format version; was it written by colsearch?")
        if row[0] > FORMAT_VERSION:
            raise FormatError(
                f"{self.path} has format {row[0]}, this release reads up to {FORMAT_VERSION}; upgrade colindex"
            )


def doc_nos_for_keys(connection: sqlite3.Connection, keys: Sequence[str]) -> list[tuple[str, int]]:
    """Key and number of the documents that have one of these `id_key`s, however many.

    Raises: DamagedError: if SQLite gives anything but strings and integers.
    """
    found = []
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        marks = ",".join("?" * len(chunk))
        rows = connection.execute(f"SELECT id, doc_no FROM documents WHERE id IN ({marks})", chunk).fetchall()
        if any((type(key), type(doc_no)) != (str, int) for key, doc_no in rows):
            raise DamagedError(f"{FILE_NAME}: an id or a number of a document has another type")
        found += rows
    return found


def _translated(error: sqlite3.Error, path: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
                sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM):  # fmt: skip
        return StorageError(None, f"{path}: {error}; nothing was changed")
    return DamagedError(f"{path}: {error}; run `colsearch check --repair`")
