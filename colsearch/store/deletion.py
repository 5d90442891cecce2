"""Deleting documents, and on demand every byte of them."""

import errno
from collections.abc import Sequence

import numpy as np

from colsearch.errors import StorageError
from colsearch.store import files, tables
from colsearch.store.merging import merge, merge_after_write, vacuum
from colsearch.store.staging import delete_staged
from colsearch.store.writer import Writer
from colsearch.types import DocId


def delete(writer: Writer, ids: Sequence[DocId], *, purge: bool) -> int:
    """Delete documents by id, all or none; with purge no byte of them stays in any file.

    Returns: the number of documents.
    Raises: UnknownIdError; StorageError: nothing was deleted, unless it says that only bytes remain.
    """
    with writer.lock():
        doc_nos = np.unique(writer.reader.snapshot().find(ids))
        with writer.transaction() as connection:
            tables.bury(connection, doc_nos.tolist())
        if purge:
            _purge(writer)
        else:
            merge_after_write(writer)
    return len(doc_nos)


def _purge(writer: Writer) -> None:
    """Rewrite every file that holds bytes of deleted documents: segments, text index, SQLite itself.

    Files that killed calls have left may hold some too: staged segments, and files that no row names.
    """
    try:
        delete_staged(writer)
        for path in writer.folder.unfinished:
            files.remove(path)
        for live_segment in writer.reader.snapshot().segments:
            if live_segment.live is not None:
                merge(writer, [live_segment])
        vacuum(writer)
    except (StorageError, MemoryError) as error:
        raise StorageError(
            getattr(error, "errno", errno.ENOMEM),
            f"the documents are deleted, but bytes of them remain until `compact` runs: {error}",
        ) from error
