"""MaxSim over codes: all documents or scattered ones, one query or several, the k best, the alignment."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels import reference
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import F32, I64, Codes, QuantizedQuery, address
from colsearch_kernels.layout.packing import PackedQueries, Rows, aligned_block, scratch_bytes
from colsearch_kernels.runtime import pool
from colsearch_kernels.runtime.native import Kernel
from colsearch_kernels.runtime.tiers import LANES

_score_documents, _document_maxima = Kernel("integer.score_documents"), Kernel("integer.document_maxima")

# Cost of one query token against one document token of 128 dims that follow one another in memory.
_NS_PER_PAIR = 0.7


def ns_per_token(n_vectors: int, n_dims: int) -> float:
    """Cost of a document token, to size the chunks of work.

    Args:
        n_vectors: of a query's tokens, 16 each.
    """
    return _NS_PER_PAIR * LANES * n_vectors * n_dims / 128


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
    rows = Rows.of_codes(codes, n_planes)
    return score_rows(queries, rows, codes.offsets, ordinals=ordinals, n_threads=n_threads)


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
        live: (n_docs,) bool; others are never returned, nor is a document without tokens.
    Raises: KernelInputError.
    """
    if k < 1:
        raise KernelInputError(f"k must be at least 1, not {k}")
    if live is not None:
        ordinals = _live_ordinals(live, ordinals, codes.n_docs)
    scores = score_codes(query, codes, ordinals=ordinals, n_planes=n_planes, n_threads=n_threads)
    numbers = np.arange(codes.n_docs) if ordinals is None else ordinals
    best = best_k(scores, numbers, k)
    return numbers[best], scores[best]


def _live_ordinals(live: NDArray[np.bool_], ordinals: I64 | None, n_docs: int) -> I64:
    if not isinstance(live, np.ndarray) or live.dtype != np.bool_ or live.shape != (n_docs,):
        raise KernelInputError(f"live must be a bool array of {n_docs} documents, not {live!r:.60}")
    if ordinals is None:
        return np.flatnonzero(live)
    return ordinals[live[checked_ordinals(ordinals, n_docs)]]


def best_k(scores: F32, numbers: I64, k: int) -> I64:
    """Rows of the k highest finite scores, best first, equal scores by ascending number."""
    rows = np.flatnonzero(scores > -np.inf)
    # Where nearly all are among the best, sorting all is cheaper than choosing.
    if 4 * k < len(rows):
        threshold = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
        rows = rows[scores[rows] >= threshold]
    chosen: I64 = rows[np.lexsort((numbers[rows], -scores[rows]))[:k]]
    return chosen


def align(
    query: QuantizedQuery, codes: Codes, ordinal: int, *, n_planes: int | None = None
) -> tuple[I64, F32]:
    """For each query token, its best token in one document, and that token's share of the score.

    Returns: (n_query_tokens,) int64 positions within the document, the first of equals, and
        (n_query_tokens,) float32; -1 and -inf for a document without tokens.
    """
    if not 0 <= ordinal < codes.n_docs:
        raise KernelInputError(f"ordinal {ordinal} is outside 0..{codes.n_docs - 1}")
    # One document at a time: the clear twin is fast enough, and is the same arithmetic by definition.
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
    rows = Rows.of_codes(codes, n_planes)
    n = codes.n_docs if ordinals is None else len(ordinals)
    maxima = np.empty((n, len(query)), np.float32)
    if not n:
        return maxima
    packed = PackedQueries([query], rows)
    order = None if ordinals is None else np.ascontiguousarray(ordinals)
    order_at, maxima_at = 0 if order is None else address(order), address(maxima)

    def run(first: int, last: int) -> None:
        _memory, scratch = aligned_block(scratch_bytes(rows.n_dims, packed.n_vectors))
        _document_maxima(
            rows.layout, rows.plane0, rows.plane1, rows.bytes0, rows.bytes1, rows.widths, rows.scale,
            rows.offsets, order_at, first, last, rows.n_dims, packed.values, packed.initial, packed.scales,
            packed.n_vectors, scratch, maxima_at, len(query),
        )  # fmt: skip

    doclens = _doclens(codes.offsets, order)
    cost = ns_per_token(packed.n_vectors, rows.n_dims)
    pool.run_documents(run, doclens, ns_per_token=cost, n_threads=n_threads)
    if not np.isfinite(maxima).all():
        _check_scores(maxima.T, doclens)
    return maxima


def _checked(queries: Sequence[QuantizedQuery], codes: Codes, n_planes: int | None) -> int:
    """The number of planes to read, once queries and codes were found to fit together."""
    n_planes = reference.checked_n_planes(n_planes, codes.plane_bits)
    for query in queries:
        if query.padded_dim != codes.padded_dim:
            raise KernelInputError(
                f"the query has padded dim {query.padded_dim}, the codes have {codes.padded_dim}; was it "
                "prepared by another codec?"
            )
    return n_planes


def checked_ordinals(ordinals: I64, n_docs: int) -> I64:
    """The ordinals, if all are within 0..n_docs - 1: most kernels do not look again."""
    _check_is_ordinals(ordinals)
    # As unsigned numbers, negative ones are the largest.
    if len(ordinals) and int(ordinals.view(np.uint64).max()) >= n_docs:
        raise _outside(ordinals, n_docs)
    return ordinals


def _check_is_ordinals(ordinals: I64) -> None:
    if not isinstance(ordinals, np.ndarray) or ordinals.dtype != np.int64 or ordinals.ndim != 1:
        raise KernelInputError("ordinals must be a 1-d int64 array")


def _outside(ordinals: I64, n_docs: int) -> KernelInputError:
    return KernelInputError(
        f"ordinals lie within {ordinals.min()}..{ordinals.max()}, the codes have documents 0..{n_docs - 1}"
    )


def score_rows(
    queries: Sequence[QuantizedQuery],
    rows: Rows,
    offsets: I64,
    *,
    ordinals: I64 | None,
    n_threads: int,
) -> F32:
    """(n_queries, n) float32 scores of `rows`, of which `offsets` is a copy or the array itself."""
    n_docs = len(offsets) - 1
    if ordinals is not None:
        _check_is_ordinals(ordinals)
    n = n_docs if ordinals is None else len(ordinals)
    scores = np.empty((len(queries), n), np.float32)
    if not n or not queries:
        return scores
    packed = PackedQueries(queries, rows)
    order = ordinals
    # Asking first spares a detour through NumPy, which is slow as long as its code is in no cache.
    if order is not None and not order.flags.c_contiguous:
        order = np.ascontiguousarray(order)
    order_at, scores_at = 0 if order is None else address(order), address(scores)
    wrong: list[int] = []

    def run(first: int, last: int) -> None:
        scratch = packed.scratch
        if n_threads > 1:
            _memory, scratch = aligned_block(scratch_bytes(rows.n_dims, packed.n_vectors))
        n_wrong = _score_documents(
            rows.layout, rows.plane0, rows.plane1, rows.bytes0, rows.bytes1, rows.widths, rows.scale,
            rows.offsets, n_docs, order_at, first, last, rows.n_dims, packed.values, packed.initial,
            packed.scales, packed.starts, packed.n_queries, scratch, scores_at, n,
        )  # fmt: skip
        if n_wrong:
            wrong.append(n_wrong)

    if n_threads == 1:
        run(0, n)
    else:
        if order is not None:
            checked_ordinals(order, n_docs)
        doclens = _doclens(offsets, order)
        cost = ns_per_token(packed.n_vectors, rows.n_dims)
        pool.run_documents(run, doclens, ns_per_token=cost, n_threads=n_threads)
    if wrong:
        if ordinals is not None and min(wrong) < 0:
            raise _outside(ordinals, n_docs)
        _check_scores(scores, _doclens(offsets, order))
    return scores


def _doclens(offsets: I64, order: I64 | None) -> I64:
    return offsets[1:] - offsets[:-1] if order is None else offsets[order + 1] - offsets[order]


def _check_scores(scores: F32, doclens: I64) -> None:
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=0) & (doclens > 0))
    if len(bad):
        raise KernelInputError(
            f"document {bad[0]} of those scored, and {len(bad) - 1} more, have widths that are not finite"
        )
