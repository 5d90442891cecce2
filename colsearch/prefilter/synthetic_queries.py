"""Queries made of an index's own documents, for a prefilter or an audit that has no real ones.

Document tokens as they stand are too easy as queries: their own document, and what repeats it, hold exactly
these tokens and stand out, the more so the more such documents there are. So calibrations and audits use texts
encoded as queries where there are texts and an encoder, and paraphrases elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

import numpy as np

import colsearch_kernels as kernels
from colsearch.codec.rotated import EncodedTokens, RotatedCodec
from colsearch.prefilter.sampling import gather, sample_documents
from colsearch.prefilter.settings import PrefilterSettings
from colsearch.scoring.scorer import Scorer
from colsearch.store.snapshot import Snapshot
from colsearch.types import F32, I64, TokenVectors
from colsearch_kernels import Codes
from colsearch_kernels.layout.ragged import indices_of_ranges

# Fewest tokens, and one more than most, of a query made of document tokens; the same in words of a text.
_SPAN_TOKENS = (4, 24)
_SPAN_WORDS = (4, 13)
# Documents whose tokens paraphrase others.
_N_PARAPHRASING_DOCS = 2000


class QueryEncoder(Protocol):
    """Encodes texts as queries, if the index has an encoder."""

    @property
    def available(self) -> bool: ...

    def encode_query(self, texts: Sequence[str]) -> TokenVectors: ...


def synthetic_queries(
    snapshot: Snapshot,
    scorer: Scorer,
    encoder: QueryEncoder,
    settings: PrefilterSettings,
    n: int,
    *,
    seed: int,
    n_threads: int,
) -> list[F32]:
    """At most n queries made of the documents of a snapshot: of their texts if possible, else paraphrases."""
    if not snapshot.n_tokens:
        return []
    rng = np.random.default_rng(seed)
    documents, doc_nos = sample_documents(snapshot, scorer, settings, rng)
    queries = encoded_text_queries(snapshot, doc_nos, encoder, settings, rng)
    return (queries or paraphrase_queries(documents, scorer.codec, n, rng, n_threads))[:n]


def encoded_text_queries(
    snapshot: Snapshot,
    doc_nos: I64,
    encoder: QueryEncoder,
    settings: PrefilterSettings,
    rng: np.random.Generator,
) -> list[F32]:
    """Some words of these documents' texts, encoded as queries; none without an encoder or texts."""
    if not encoder.available:
        return []
    chosen = np.sort(rng.permutation(doc_nos)[: settings.n_text_queries])
    texts = word_span_queries([document.text or "" for document in snapshot.documents(chosen)], rng)
    if not texts:
        return []
    tokens = encoder.encode_query(texts)
    queries = np.split(tokens.vectors, np.cumsum(tokens.doclens)[:-1])
    return [queries[i] for i in rng.permutation(len(queries)) if len(queries[i])]


def token_span_queries(codes: Codes, codec: RotatedCodec, n: int, rng: np.random.Generator) -> list[F32]:
    """n queries, each some neighbouring tokens of one document, decoded from its codes."""
    spans, _ = _token_spans(codes, codec, n, rng)
    return spans


def paraphrase_queries(
    codes: Codes, codec: RotatedCodec, n: int, rng: np.random.Generator, n_threads: int
) -> list[F32]:
    """As `token_span_queries`, but each token is replaced by the nearest token of another document."""
    spans, owners = _token_spans(codes, codec, n, rng)
    pool = rng.permutation(np.flatnonzero(codes.doclens))[:_N_PARAPHRASING_DOCS]
    pool_codes = gather(codes, pool)
    paraphrases = []
    for span, owner in zip(spans, owners):
        query = codec.prepare_query(span)
        maxima = kernels.token_maxima(query, pool_codes, n_planes=1, n_threads=n_threads)
        maxima[pool == owner] = -np.inf
        # First the document nearest to each token of the span, then the nearest token within that document.
        nearest_docs = gather(pool_codes, maxima.argmax(axis=0))
        similarities = kernels.token_maxima(query, _one_document_per_token(nearest_docs), n_threads=n_threads)
        tokens = [
            start + similarities[start:stop, i].argmax()
            for i, (start, stop) in enumerate(pairwise(nearest_docs.offsets))
        ]
        paraphrases.append(_decoded(nearest_docs, np.array(tokens), codec))
    return paraphrases


def word_span_queries(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Some neighbouring words of each text, as a user might ask for it; texts without words are left out."""
    queries = []
    for text in texts:
        words = text.split()
        if words:
            n_words = min(int(rng.integers(*_SPAN_WORDS)), len(words))
            first = int(rng.integers(0, len(words) - n_words + 1))
            queries.append(" ".join(words[first : first + n_words]))
    return queries


def _one_document_per_token(codes: Codes) -> Codes:
    return replace(codes, offsets=np.arange(codes.n_tokens + 1))


def _token_spans(
    codes: Codes, codec: RotatedCodec, n: int, rng: np.random.Generator
) -> tuple[list[F32], I64]:
    """n spans of neighbouring tokens, and the ordinal of the document that each is from."""
    ordinals = rng.choice(np.flatnonzero(codes.doclens), n)
    lengths = np.minimum(rng.integers(*_SPAN_TOKENS, n), codes.doclens[ordinals])
    starts = codes.offsets[ordinals] + rng.integers(0, codes.doclens[ordinals] - lengths + 1)
    tokens = _decoded(codes, indices_of_ranges(starts, lengths), codec)
    return np.split(tokens, np.cumsum(lengths)[:-1]), ordinals


def _decoded(codes: Codes, rows: I64, codec: RotatedCodec) -> F32:
    planes = tuple(plane[rows] for plane in codes.planes)
    widths = tuple(width[rows] for width in codes.widths)
    return codec.decode(EncodedTokens(planes, widths))
