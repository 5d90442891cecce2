"""A staged add: segments and rows that nobody sees until one transaction makes all of them visible."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from colsearch.errors import DuplicateIdError
from colsearch.store.catalog import read_catalog
from colsearch.store.database import doc_nos_for_keys
from colsearch.store.segment import DocumentBatch, Segment, write_segment
from colsearch.store.snapshot import id_key
from colsearch.store.tables import delete_staged, insert_documents
from colsearch.types import DocId

if TYPE_CHECKING:
    from colsearch.store.store import Store

# Codes held in memory before they become a staged segment.
BUFFER_BYTES = 64 << 20


class StagedWrite:
    """One add or update: `add` batches, then `commit`; leaving the block without it undoes everything.

    Attributes:
        n_staged: documents that an earlier, killed build had staged already (with resume).
        first_doc_no: number of the first document of this build, those counted.
    """

    def __init__(self, store: Store, *, replace: bool, resume: bool) -> None:
        self._store = store
        self._replace = replace
        self._resume = resume
        self._batches: list[DocumentBatch] = []
        self._buffer_bytes = 0
        self._buffered: dict[str, DocId] = {}
        self._replaced: list[int] = []
        self._done = False
        self._stack = ExitStack()
        self.n_staged = 0
        self.first_doc_no = 0

    def __enter__(self) -> StagedWrite:
        self._stack.enter_context(self._store.write_lock())
        try:
            with self._store.database.reading() as connection:
                self._visible = read_catalog(connection).visible
                [last] = connection.execute("SELECT max(doc_no) FROM documents").fetchone()
            if not self._resume:
                delete_staged(self._store)
            elif last is not None and last > self._visible:
                self.n_staged = last - self._visible
        except BaseException:
            self._stack.close()
            raise
        self.first_doc_no = self._visible + 1
        self._next_doc_no = self.first_doc_no + self.n_staged
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The lock's block ends here; it gives a type to what was raised for want of memory.
        with self._stack:
            if not self._done:
                self._batches = []
                delete_staged(self._store)
            if isinstance(error, MemoryError):
                raise error

    def add(self, batch: DocumentBatch) -> None:
        """Take a batch of documents.

        Raises: DuplicateIdError: if an id is in the index (unless replacing) or came before.
        """
        if not len(batch.ids):
            return
        self._check_ids(batch.ids)
        self._batches.append(batch)
        self._buffer_bytes += sum(plane.nbytes for plane in batch.planes) + sum(
            len(text) for text in batch.texts if text is not None
        )
        if self._buffer_bytes >= BUFFER_BYTES:
            self._flush()

    def commit(self) -> None:
        """Make all of it visible, durably, at once."""
        self._done = self._publish()
        self._store.after_write()

    def _publish(self) -> bool:
        name, n_bytes, segment = self._written()
        with self._store.database.writing() as connection:
            if segment is not None:
                insert_documents(connection, segment, name, n_bytes, staged=False)
            connection.executemany(
                "INSERT OR IGNORE INTO replaced VALUES (?)", ((n,) for n in self._replaced)
            )
            connection.execute("DELETE FROM documents WHERE doc_no IN (SELECT doc_no FROM replaced)")
            connection.execute("INSERT OR IGNORE INTO tombstones SELECT doc_no FROM replaced")
            connection.execute("DELETE FROM replaced")
            connection.execute("UPDATE segments SET staged = 0 WHERE staged = 1")
            connection.execute("UPDATE state SET value = ? WHERE key = 'visible'", (self._next_doc_no - 1,))
        return True

    def _flush(self) -> None:
        name, n_bytes, segment = self._written()
        if segment is None:
            return
        with self._store.database.writing() as connection:
            insert_documents(connection, segment, name, n_bytes, staged=True)
            connection.executemany(
                "INSERT OR IGNORE INTO replaced VALUES (?)", ((n,) for n in self._replaced)
            )
        self._replaced = []

    def _written(self) -> tuple[str, int, Segment | None]:
        if not self._batches:
            return "", 0, None
        name, n_bytes = write_segment(
            self._store.segments_folder, self._batches, self._next_doc_no, self._store.settings
        )
        segment = Segment(self._store.segments_folder / name, verify="off")
        self._next_doc_no += segment.n_docs
        self._batches, self._buffer_bytes, self._buffered = [], 0, {}
        return name, n_bytes, segment

    def _check_ids(self, ids: Sequence[DocId]) -> None:
        keys = {}
        for id in ids:
            key = id_key(id)
            if key in keys or key in self._buffered:
                raise DuplicateIdError(f"id {id!r} comes twice in this call; nothing was added")
            keys[key] = id
        with self._store.database.reading() as connection:
            found = doc_nos_for_keys(connection, list(keys))
        for key, doc_no in found:
            if doc_no > self._visible:
                raise DuplicateIdError(f"id {keys[key]!r} comes twice in this call; nothing was added")
            if not self._replace:
                raise DuplicateIdError(
                    f"id {keys[key]!r} is in the index already; use update to replace it; nothing was added"
                )
        self._store.snapshot().confirm(dict(found))
        self._replaced += [doc_no for _, doc_no in found]
        self._buffered |= keys
