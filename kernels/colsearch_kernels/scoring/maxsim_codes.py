"""MaxSim over codes: all documents or scattered ones, one query or several, the k best, the alignment."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels import reference
from colsearch_kernels.arguments import F32, I64, TokenLayout
from colsearch_kernels.checks import check_is_ordinals, checked_ordinals, outside
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import Codes, QuantizedQuery, checked_n_planes
from colsearch_kernels.layout.packing import pack_queries, scratch_block
from colsearch_kernels.layout.token_layout import layout_of_codes
from colsearch_kernels.runtime import pool
from colsearch_kernels.runtime.cost import ns_per_token
from colsearch_kernels.runtime.kernel import kernel
from colsearch_kernels.runtime.tiers import LANES
from colsearch_kernels.scoring.ordering import best_k

if TYPE_CHECKING:
    from colsearch_kernels.compiled.integer import document_maxima, score_documents
else:
    document_maxima = kernel("integer.document_maxima", globals())
    score_documents = kernel("integer.score_documents", globals())


def score_codes(
    query: QuantizedQuery,
    codes: Codes,
    *,
    ordinals: I64 | None = None,
    n_planes: int | None = None,
    n_threads: int = 1,
) -> F32:
    """MaxSim of one query against documents; -inf for a document without tokens.

    Args:
        query: from `quantize.quantize_query`, of the codes' padded dim.
        codes: of one segment; arrays may be memory maps.
        ordinals: (n,) int64 documents to score, in any order; None for all.
        n_planes: how many planes to read; None for all of them.
        n_threads: threads to use.
    Returns: (n,) float32.
    Raises: KernelInputError: also for widths that are not finite, which show in the scores.
    Source: Khattab & Zaharia 2020, eq. 3. Oracle: reference.score_codes, equal to the bit.
    """
    scores = score_codes_batch([query], codes, ordinals=ordinals, n_planes=n_planes, n_threads=n_threads)
    return scores.reshape(-1)


def score_codes_batch(
    queries: Sequence[QuantizedQuery],
    codes: Codes,
    *,
    ordinals: I64 | None = None,
    n_planes: int | None = None,
    n_threads: int = 1,
) -> F32:
    """`score_codes` of several queries in one pass over the codes: (n_queries, n) float32."""
    n_planes = _checked(queries, codes, n_planes)
    segment = layout_of_codes(codes, n_planes)
    return score_segment(queries, segment, ordinals=ordinals, n_threads=n_threads)


def top_k(
    query: QuantizedQuery,
    codes: Codes,
    k: int,
    *,
    ordinals: I64 | None = None,
    live: NDArray[np.bool_] | None = None,
    n_planes: int | None = None,
    n_threads: int = 1,
) -> tuple[I64, F32]:
    """Ordinals and scores of the k best documents, best first; equal scores by ascending ordinal.

    Args:
        live: (n_docs,) bool; documents that are not live or have no tokens are never returned.
    Raises: KernelInputError.
    """
    if k < 1:
        raise KernelInputError(f"k must be at least 1, not {k}")
    if live is not None:
        ordinals = _live_ordinals(live, ordinals, codes.n_docs)
    scores = score_codes(query, codes, ordinals=ordinals, n_planes=n_planes, n_threads=n_threads)
    if ordinals is None:
        ordinals = np.arange(codes.n_docs)
    best = best_k(scores, ordinals, k)
    return ordinals[best], scores[best]


def _live_ordinals(live: NDArray[np.bool_], ordinals: I64 | None, n_docs: int) -> I64:
    if not isinstance(live, np.ndarray) or live.dtype != np.bool_ or live.shape != (n_docs,):
        raise KernelInputError(f"live must be a bool array of {n_docs} documents, not {live!r:.60}")
    if ordinals is None:
        return np.flatnonzero(live)
    return ordinals[live[checked_ordinals(ordinals, n_docs)]]


def align(
    query: QuantizedQuery, codes: Codes, ordinal: int, *, n_planes: int | None = None
) -> tuple[I64, F32]:
    """For each query token, the best token of one document, and the share of the score that it contributes.

    Returns: (n_query_tokens,) int64 positions within the document, the first of equally good ones, and
        (n_query_tokens,) float32 shares; -1 and -inf for a document without tokens.
    """
    if not 0 <= ordinal < codes.n_docs:
        raise KernelInputError(f"ordinal {ordinal} is outside 0..{codes.n_docs - 1}")
    # For one document the slow twin is fast enough, and it is the same arithmetic by definition.
    return reference.align(query, codes, ordinal, n_planes=n_planes)


def token_maxima(
    query: QuantizedQuery,
    codes: Codes,
    *,
    ordinals: I64 | None = None,
    n_planes: int | None = None,
    n_threads: int = 1,
) -> F32:
    """Each query token's similarity to its best token of each document: MaxSim before the sum.

    Args: as `score_codes`; thousands of query tokens at once are fine.
    Returns: (n, n_query_tokens) float32; -inf for a document without tokens.
    Raises: KernelInputError. Oracle: reference.token_maxima, equal to the bit.
    """
    n_planes = _checked([query], codes, n_planes)
    if ordinals is not None:
        checked_ordinals(ordinals, codes.n_docs)
    segment = layout_of_codes(codes, n_planes)
    n, n_query_tokens = codes.n_docs if ordinals is None else len(ordinals), len(query)
    maxima = np.empty((n, n_query_tokens), np.float32)
    if not n:
        return maxima
    packed = pack_queries([query], segment.format)
    n_dims = segment.format.n_dims
    order = None if ordinals is None else np.ascontiguousarray(ordinals)

    def run(first: int, last: int) -> None:
        scratch = scratch_block(n_dims, packed.n_vectors)
        document_maxima(segment, order, first, last, packed, scratch, maxima, n_query_tokens)

    doclens = _doclens(codes.offsets, order)
    cost = ns_per_token(n_query_tokens, n_dims)
    pool.run_documents(run, doclens, ns_per_token=cost, n_threads=n_threads)
    if not np.isfinite(maxima).all():
        _check_scores(maxima.T, doclens)
    return maxima


def _checked(queries: Sequence[QuantizedQuery], codes: Codes, n_planes: int | None) -> int:
    """The number of planes to read, if queries and codes fit together."""
    n_planes = checked_n_planes(n_planes, codes.plane_bits)
    for query in queries:
        if query.padded_dim != codes.padded_dim:
            raise KernelInputError(
                f"the query has padded dim {query.padded_dim}, the codes have {codes.padded_dim}; was it "
                "prepared by another codec?"
            )
    return n_planes


def score_segment(
    queries: Sequence[QuantizedQuery], segment: TokenLayout, *, ordinals: I64 | None, n_threads: int
) -> F32:
    """(n_queries, n) float32 scores of documents of a segment, as `score_codes` says."""
    if ordinals is not None:
        check_is_ordinals(ordinals)
    n = segment.n_docs if ordinals is None else len(ordinals)
    scores = np.empty((len(queries), n), np.float32)
    if not n or not queries:
        return scores
    packed = pack_queries(queries, segment.format)
    n_dims = segment.format.n_dims
    order = ordinals
    # The flag is checked first because the call of NumPy is slow while its code is in no cache.
    if order is not None and not order.flags.c_contiguous:
        order = np.ascontiguousarray(order)
    wrong: list[int] = []

    def run(first: int, last: int) -> None:
        scratch = scratch_block(n_dims, packed.n_vectors) if n_threads > 1 else None
        n_wrong = score_documents(segment, order, first, last, packed, scratch, scores, n)
        if n_wrong:
            wrong.append(n_wrong)

    if n_threads == 1:
        run(0, n)
    else:
        if order is not None:
            checked_ordinals(order, segment.n_docs)
        doclens = _doclens(segment.offsets, order)
        cost = ns_per_token(LANES * packed.n_vectors, n_dims)
        pool.run_documents(run, doclens, ns_per_token=cost, n_threads=n_threads)
    if wrong:
        if ordinals is not None and min(wrong) < 0:
            raise outside(ordinals, segment.n_docs)
        _check_scores(scores, _doclens(segment.offsets, order))
    return scores


def _doclens(offsets: I64, order: I64 | None) -> I64:
    return offsets[1:] - offsets[:-1] if order is None else offsets[order + 1] - offsets[order]


def _check_scores(scores: F32, doclens: I64) -> None:
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=0) & (doclens > 0))
    if len(bad):
        raise KernelInputError(
            f"document {bad[0]} of those scored, and {len(bad) - 1} more, have widths that are not finite"
        )
