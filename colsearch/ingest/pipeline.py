"""The way in: documents -> token vectors -> codes -> a staged write, in bounded memory, all or nothing."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Protocol, TypeAlias

import numpy as np

from colsearch.codec.rotated import RotatedCodec
from colsearch.errors import DocumentError
from colsearch.ingest.passages import TokenSpans, in_passages
from colsearch.ingest.validate import Columns, Incoming, checked_documents, length
from colsearch.ingest.vectors import check_rows, joined, token_array
from colsearch.store.segment_writer import DocumentBatch
from colsearch.store.staging import StagedWrite
from colsearch.store.store import Store
from colsearch.types import F32, Document, TokenVectors

_log = logging.getLogger(__name__)
# A batch ends with the first of these that is reached: documents, the caller's tokens, characters of texts (about
# 60,000 tokens). A text counts at most so many characters, because encoders cut it off.
BATCH_DOCS = 512
BATCH_TOKENS = 1 << 16
BATCH_CHARS, _MOST_CHARS_COUNTED = 1 << 18, 1 << 13
Progress: TypeAlias = Callable[[int, int | None], None] | bool | None
EncodeDocuments: TypeAlias = Callable[[Sequence[str]], TokenVectors]
EncodedDocuments: TypeAlias = tuple[list[Document], TokenVectors]


class DocumentEncoder(Protocol):
    """Encodes the texts of one index."""

    def encode_document(self, texts: Sequence[str]) -> TokenVectors: ...

    def token_spans(self) -> TokenSpans: ...


class IngestPipeline:
    """Adds documents to one index.

    Args:
        after_commit: called after each durable write, with the tokens that the index had before it.
    """

    def __init__(
        self,
        store: Store,
        codec: RotatedCodec,
        encoder: DocumentEncoder,
        after_commit: Callable[[int], None],
    ) -> None:
        self._store = store
        self._codec = codec
        self._encoder = encoder
        self._after_commit = after_commit

    def add(
        self, columns: Columns, *, progress: Progress, replace: bool = False, resume: bool = False
    ) -> int:
        """Add documents, or replace those whose ids the index has; returns how many."""
        return self._write(
            columns.documents,
            has_vectors=columns.vectors is not None,
            n_docs=columns.n_docs,
            progress=progress,
            replace=replace,
            resume=resume,
        )

    def add_documents(
        self, documents: Iterable[Document], *, passages: int | None, progress: Progress, resume: bool
    ) -> int:
        """Add documents, cut into passages of at most so many tokens if that is asked for."""
        n_docs = length(documents)
        if passages is not None:
            documents, n_docs = in_passages(documents, passages, self._encoder.token_spans()), None
        return self._write(
            lambda first_id: checked_documents(documents),
            has_vectors=False,
            n_docs=n_docs,
            progress=progress,
            replace=False,
            resume=resume,
        )

    def _write(
        self,
        documents_from: Callable[[int], Iterator[Incoming]],
        *,
        has_vectors: bool,
        n_docs: int | None,
        progress: Progress,
        replace: bool,
        resume: bool,
    ) -> int:
        """Stage and commit documents; those without an id are numbered from the argument of `documents_from`."""
        n_tokens_before = self._store.snapshot().n_tokens
        with self._store.begin(replace=replace, resume=resume) as staged:
            documents = islice(documents_from(staged.first_doc_no), staged.n_staged, None)
            if has_vectors:
                batches = given_vectors(documents, self._codec.dim)
            else:
                batches = encoded_texts(documents, self._encoder.encode_document)
            n_added = self._stage(staged, batches, progress, n_docs)
            staged.commit()
        self._after_commit(n_tokens_before)
        return staged.n_staged + n_added

    def _stage(
        self, staged: StagedWrite, batches: Iterable[EncodedDocuments], progress: Progress, n_docs: int | None
    ) -> int:
        """Code and stage every batch; returns the number of documents."""
        n_staged = n_cut_texts = n_cut_tokens = 0
        with progress_report(progress, n_docs) as report:
            for documents, tokens in batches:
                codes = self._codec.encode(tokens.vectors)
                staged.add(
                    DocumentBatch(
                        ids=[document.id for document in documents],
                        planes=codes.planes,
                        widths=codes.widths,
                        doclens=tokens.doclens,
                        texts=[document.text for document in documents],
                        metadata=[document.metadata for document in documents],
                        spans=tokens.spans,
                    )
                )
                n_staged += len(documents)
                if tokens.n_truncated is not None:
                    n_cut_texts += int(np.count_nonzero(tokens.n_truncated))
                    n_cut_tokens += int(tokens.n_truncated.sum())
                report(staged.n_staged + n_staged, n_docs)
        if n_cut_texts:
            _log.warning(
                "%d of %d texts are longer than the encoder reads: their last %d tokens were cut off; "
                "passages= (--passages) splits long texts",
                n_cut_texts,
                n_staged,
                n_cut_tokens,
            )
        return n_staged


def encoded_texts(documents: Iterator[Incoming], encode: EncodeDocuments) -> Iterator[EncodedDocuments]:
    """Batches of documents with the token vectors that the encoder gives them."""
    for batch in _batches(document for document, _ in documents):
        tokens = encode([document.text or "" for document in batch])
        if len(tokens) != len(batch):
            raise DocumentError(f"the encoder returned {len(tokens)} results for {len(batch)} texts")
        yield batch, tokens


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Batches of many short documents or a few long ones, since their token vectors are in memory at once."""
    batch: list[Document] = []
    n_chars = 0
    for document in documents:
        batch.append(document)
        n_chars += min(len(document.text or ""), _MOST_CHARS_COUNTED)
        if len(batch) == BATCH_DOCS or n_chars >= BATCH_CHARS:
            yield batch
            batch, n_chars = [], 0
    if batch:
        yield batch


def given_vectors(documents: Iterator[Incoming], dim: int) -> Iterator[EncodedDocuments]:
    """Batches of documents with the caller's token vectors, checked."""
    batch: list[Document] = []
    arrays: list[F32] = []
    n_tokens = 0
    for document, vectors in documents:
        arrays.append(token_array(vectors, dim, where=f"document {document.id!r}"))
        batch.append(document)
        n_tokens += len(arrays[-1])
        if len(batch) == BATCH_DOCS or n_tokens >= BATCH_TOKENS:
            yield batch, _checked(batch, arrays, dim)
            batch, arrays, n_tokens = [], [], 0
    if batch:
        yield batch, _checked(batch, arrays, dim)


def _checked(batch: Sequence[Document], arrays: Sequence[F32], dim: int) -> TokenVectors:
    tokens = joined(arrays, dim)
    check_rows(arrays, tokens.vectors, where=lambda i: f"document {batch[i].id!r}")
    return tokens


@contextmanager
def progress_report(progress: Progress, n_docs: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """The caller's callback, or a bar on a terminal (progress=None), or nothing (progress=False)."""
    if callable(progress):
        yield progress
        return
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(total=n_docs, unit=" documents", desc="indexing") as bar:
        yield lambda done, total: bar.update(done - bar.n) and None
