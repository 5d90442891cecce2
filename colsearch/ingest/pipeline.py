"""Documents -> token vectors -> codes -> a staged build, in bounded memory, all or nothing."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from colsearch.codec.rotated import RotatedCodec
from colsearch.errors import DocumentError
from colsearch.ingest import validate
from colsearch.store.segment_writer import DocumentBatch
from colsearch.store.staging import StagedWrite
from colsearch.types import F32, Document, TokenVectors

_log = logging.getLogger(__name__)
BATCH_DOCS = 512
BATCH_TOKENS = 1 << 16
# Of texts: some 60,000 tokens. What one text counts is bounded, because what an encoder reads of it is.
BATCH_CHARS, _MAX_CHARS = 1 << 18, 1 << 13
Progress: TypeAlias = Callable[[int, int | None], None] | bool | None
EncodeDocuments: TypeAlias = Callable[[Sequence[str]], TokenVectors]
EncodedDocuments: TypeAlias = tuple[list[Document], TokenVectors]


def encoded_texts(
    documents: Iterator[tuple[Document, object]], encode: EncodeDocuments
) -> Iterator[EncodedDocuments]:
    """Documents with their token vectors, batch by batch, as the encoder gives them."""
    for batch in _batches(document for document, _ in documents):
        tokens = encode([document.text or "" for document in batch])
        if len(tokens) != len(batch):
            raise DocumentError(f"the encoder returned {len(tokens)} results for {len(batch)} texts")
        yield batch, tokens


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Many short documents or a few long ones, since their token vectors are in memory at once."""
    batch: list[Document] = []
    n_chars = 0
    for document in documents:
        batch.append(document)
        n_chars += min(len(document.text or ""), _MAX_CHARS)
        if len(batch) == BATCH_DOCS or n_chars >= BATCH_CHARS:
            yield batch
            batch, n_chars = [], 0
    if batch:
        yield batch


def given_vectors(documents: Iterator[tuple[Document, object]], dim: int) -> Iterator[EncodedDocuments]:
    """Documents with the caller's token vectors, checked, batch by batch."""
    batch: list[Document] = []
    arrays: list[F32] = []
    n_tokens = 0
    for document, vectors in documents:
        arrays.append(validate.token_array(vectors, dim, where=f"document {document.id!r}"))
        batch.append(document)
        n_tokens += len(arrays[-1])
        if len(batch) == BATCH_DOCS or n_tokens >= BATCH_TOKENS:
            yield batch, _checked(batch, arrays, dim)
            batch, arrays, n_tokens = [], [], 0
    if batch:
        yield batch, _checked(batch, arrays, dim)


def _checked(batch: Sequence[Document], arrays: Sequence[F32], dim: int) -> TokenVectors:
    tokens = validate.flatten(arrays, dim)
    validate.check_rows(arrays, tokens.vectors, where=lambda i: f"document {batch[i].id!r}")
    return tokens


def write(
    build: StagedWrite,
    codec: RotatedCodec,
    batches: Iterable[EncodedDocuments],
    progress: Progress,
    total: int | None = None,
) -> int:
    """Encode and stage every batch; the caller commits.

    Args:
        total: documents to come, if it is known.
    Returns: the number of documents.
    """
    n_docs = n_cut = n_lost = 0
    with progress_report(progress, total) as report:
        for documents, tokens in batches:
            encoded = codec.encode(tokens.vectors)
            build.add(
                DocumentBatch(
                    ids=[document.id for document in documents],
                    planes=encoded.planes,
                    widths=encoded.widths,
                    doclens=tokens.doclens,
                    texts=[document.text for document in documents],
                    metadata=[document.metadata for document in documents],
                    spans=tokens.spans,
                )
            )
            n_docs += len(documents)
            if tokens.n_truncated is not None:
                n_cut += int(np.count_nonzero(tokens.n_truncated))
                n_lost += int(tokens.n_truncated.sum())
            report(build.n_staged + n_docs, total)
    if n_cut:
        _log.warning(
            "%d of %d texts are longer than the encoder reads: their last %d tokens were cut off; "
            "passages= (--passages) splits long texts",
            n_cut,
            n_docs,
            n_lost,
        )
    return n_docs


@contextmanager
def progress_report(progress: Progress, total: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """The caller's callback, or a bar on a terminal (progress=None), or nothing (progress=False)."""
    if callable(progress):
        yield progress
        return
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=" documents", desc="indexing") as bar:
        yield lambda done, total: bar.update(done - bar.n) and None
