"""A staged write: segments and rows that nobody sees until one transaction makes all of them visible."""

from collections.abc import Sequence
from contextlib import ExitStack
from sqlite3 import Connection
from types import TracebackType

from colsearch.errors import DuplicateIdError
from colsearch.store import tables
from colsearch.store.catalog import read_catalog
from colsearch.store.merging import merge_after_write
from colsearch.store.segment_writer import DocumentBatch, StoredDocuments, write_segment
from colsearch.store.stored_json import id_key
from colsearch.store.tables import SegmentRow
from colsearch.store.writer import Writer
from colsearch.types import DocId

# Codes and texts held in memory before they become a staged segment.
BUFFER_BYTES = 64 << 20


class StagedWrite:
    """One add or update: `add` batches, then `commit`; leaving the block without a commit undoes everything.

    Attributes:
        n_staged: documents that an earlier, killed write has staged already (with resume).
        first_doc_no: number of the first document of this write, the n_staged ones included.
    """

    def __init__(self, writer: Writer, *, replace: bool, resume: bool) -> None:
        """Prepare; the write begins with the `with` block.

        Args:
            replace: documents take the place of those with the same ids.
            resume: keep what a killed write has staged, and go on behind it.
        """
        self._writer = writer
        self._replace = replace
        self._resume = resume
        self._batches: list[DocumentBatch] = []
        self._buffer_bytes = 0
        self._buffered_ids: dict[str, DocId] = {}
        self._replaced: list[int] = []
        self._is_committed = False
        self._stack = ExitStack()
        self.n_staged = 0
        self.first_doc_no = 0

    def __enter__(self) -> "StagedWrite":
        self._stack.enter_context(self._writer.lock())
        try:
            with self._writer.database.reading() as connection:
                self._visible = read_catalog(connection).visible
                last_doc_no = tables.last_doc_no(connection)
            if not self._resume:
                delete_staged(self._writer)
            elif last_doc_no is not None and last_doc_no > self._visible:
                self.n_staged = last_doc_no - self._visible
        except BaseException:
            self._stack.close()
            raise
        self.first_doc_no = self._visible + 1
        self._next_doc_no = self.first_doc_no + self.n_staged
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Leaving the stack leaves the lock's block, which turns a MemoryError into a StorageError.
        with self._stack:
            if not self._is_committed:
                self._batches = []
                delete_staged(self._writer)
            if isinstance(error, MemoryError):
                raise error

    def add(self, batch: DocumentBatch) -> None:
        """Take a batch of documents.

        Raises: DuplicateIdError: if an id is in the index (unless replacing) or came before; StorageError.
        """
        if not len(batch.ids):
            return
        self._check_ids(batch.ids)
        self._batches.append(batch)
        self._buffer_bytes += sum(plane.nbytes for plane in batch.planes) + sum(
            len(text) for text in batch.texts if text is not None
        )
        if self._buffer_bytes >= BUFFER_BYTES:
            self._stage()

    def commit(self) -> None:
        """Make everything visible, durably, at once.

        Raises: StorageError: nothing is visible, unless it says so.
        """
        segment = self._write_segment()
        with self._writer.transaction() as connection:
            self._insert(connection, segment, staged=False)
            tables.publish_staged(connection, self._next_doc_no - 1)
        self._is_committed = True
        merge_after_write(self._writer)

    def _stage(self) -> None:
        segment = self._write_segment()
        with self._writer.transaction() as connection:
            self._insert(connection, segment, staged=True)
        self._replaced = []

    def _write_segment(self) -> tuple[SegmentRow, StoredDocuments] | None:
        """Write the buffered batches as a segment, and empty the buffer."""
        if not self._batches:
            return None
        row, documents = write_segment(
            self._writer.folder, self._batches, self._next_doc_no, self._writer.reader.settings
        )
        self._next_doc_no += row.n_docs
        self._batches, self._buffer_bytes, self._buffered_ids = [], 0, {}
        return row, documents

    def _insert(
        self, connection: Connection, segment: tuple[SegmentRow, StoredDocuments] | None, *, staged: bool
    ) -> None:
        if segment is not None:
            row, documents = segment
            tables.insert_segment(connection, row, staged=staged)
            tables.insert_documents(connection, documents.numbered(row.first_doc_no))
        tables.insert_replaced(connection, self._replaced)

    def _check_ids(self, ids: Sequence[DocId]) -> None:
        keys = {}
        for id in ids:
            key = id_key(id)
            if key in keys or key in self._buffered_ids:
                raise DuplicateIdError(f"id {id!r} comes twice in this call; nothing was added")
            keys[key] = id
        with self._writer.database.reading() as connection:
            found = tables.doc_nos_for_keys(connection, list(keys))
        for key, doc_no in found:
            if doc_no > self._visible:
                raise DuplicateIdError(f"id {keys[key]!r} comes twice in this call; nothing was added")
            if not self._replace:
                raise DuplicateIdError(
                    f"id {keys[key]!r} is in the index already; use update to replace it; nothing was added"
                )
        self._writer.reader.snapshot().confirm(dict(found))
        self._replaced += [doc_no for _, doc_no in found]
        self._buffered_ids |= keys


def delete_staged(writer: Writer) -> None:
    """Undo what an unfinished write left, segment by segment, and remove files that no row names."""
    staged = writer.reader.staged_segments()
    # Newest first: after a kill in between, the remaining documents have no gap and can be resumed.
    for name in reversed(staged):
        segment = writer.reader.open_segment(name)
        with writer.transaction() as connection:
            tables.forget_contents(connection, segment.numbered_documents())
            tables.forget_ids(connection, int(segment.doc_nos[0]), int(segment.doc_nos[-1]))
            tables.delete_segment(connection, name)
    if staged:
        with writer.transaction() as connection:
            tables.delete_replaced(connection)
    writer.sweep()
