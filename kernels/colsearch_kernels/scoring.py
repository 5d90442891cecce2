"""MaxSim over codes: all documents or scattered ones, one query or several, the k best, the alignment."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels import pool, reference
from colsearch_kernels.codes import F32, I64, Codes, QuantizedQuery, block_bits
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.integer import score_documents

LANES = 16
# Lanes of int8 query values, int32 corrections and float32 scales, and where each query starts.
Packed: TypeAlias = tuple[NDArray[Any], NDArray[Any], F32, I64]
# Cost of one query token against one document token, to size the chunks of work.
NS_PER_PAIR = 0.7


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
    Raises: KernelInputError.
    Source: Khattab & Zaharia 2020, eq. 3. Oracle: reference.score_codes, equal to the bit.
    """
    [scores] = score_codes_batch([query], codes, ordinals=ordinals, n_planes=n_planes, n_threads=n_threads)
    return np.asarray(scores)


def score_codes_batch(
    queries: Sequence[QuantizedQuery],
    codes: Codes,
    *,
    ordinals: I64 | None = None,
    n_planes: int | None = None,
    n_threads: int = 1,
) -> F32:
    """`score_codes` of several queries in one pass over the codes: (n_queries, n) float32."""
    n_planes = reference.checked_n_planes(n_planes, codes.plane_bits)
    for query in queries:
        if query.padded_dim != codes.padded_dim:
            raise KernelInputError(
                f"the query has padded dim {query.padded_dim}, the codes have {codes.padded_dim}; was it "
                "prepared by another codec?"
            )
    n = codes.n_docs if ordinals is None else len(checked_ordinals(ordinals, codes.n_docs))
    scores = np.empty((len(queries), n), np.float32)
    if not n or not queries:
        return scores
    packed = _packed(queries, codes.plane_bits, n_planes)
    order = np.empty(0, np.int64) if ordinals is None else np.ascontiguousarray(ordinals)
    run = partial(_run, codes, n_planes, order, ordinals is None, packed, scores)
    bounds = _chunk_bounds(codes, ordinals, n, sum(map(len, queries)), n_threads)
    pool.run([partial(run, first, last) for first, last in pairwise(bounds)], n_threads)
    return scores


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
    if live is not None and (live.dtype != np.bool_ or live.shape != (codes.n_docs,)):
        raise KernelInputError(f"live must be ({codes.n_docs},) bool, not {live.shape} {live.dtype}")
    if k < 1:
        raise KernelInputError(f"k must be at least 1, not {k}")
    scores = score_codes(query, codes, ordinals=ordinals, n_planes=n_planes, n_threads=n_threads)
    numbers = np.arange(codes.n_docs) if ordinals is None else ordinals
    if live is not None:
        scores[~live[numbers]] = -np.inf
    best = best_k(scores, numbers, k)
    return numbers[best], scores[best]


def best_k(scores: F32, numbers: I64, k: int) -> I64:
    """Rows of the k highest finite scores, best first, equal scores by ascending number."""
    rows = np.flatnonzero(scores > -np.inf)
    if k < len(rows):
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


def checked_ordinals(ordinals: I64, n_docs: int) -> I64:
    """The ordinals, if all are within 0..n_docs - 1: the kernels do not look again."""
    if not isinstance(ordinals, np.ndarray) or ordinals.dtype != np.int64 or ordinals.ndim != 1:
        raise KernelInputError("ordinals must be a 1-d int64 array")
    if len(ordinals) and not (ordinals.min() >= 0 and ordinals.max() < n_docs):
        raise KernelInputError(
            f"ordinals lie within {ordinals.min()}..{ordinals.max()}, the codes have documents 0..{n_docs - 1}"
        )
    return ordinals


def _packed(queries: Sequence[QuantizedQuery], plane_bits: tuple[int, ...], n_planes: int) -> Packed:
    """Queries side by side in lanes of 16, in the order in which the kernel unpacks the dims."""
    n_dims = queries[0].padded_dim
    bits = sum(plane_bits[:n_planes])
    n_vectors = [-(-len(query) // LANES) for query in queries]
    starts = np.concatenate([[0], np.cumsum(n_vectors)])
    lanes = np.zeros((int(starts[-1]) * LANES, n_dims), np.int8)
    scales = np.zeros(len(lanes), np.float32)
    for start, query in zip(starts * LANES, queries):
        lanes[start : start + len(query)] = query.values
        scales[start : start + len(query)] = query.scales
    corrections = -((1 << bits) - 1) * lanes.sum(axis=1, dtype=np.int32)
    by_word = lanes[:, _unpack_order(plane_bits, n_planes, n_dims)].reshape(-1, LANES, n_dims // 4, 4)
    n = len(by_word)
    packed = _aligned((-(-n // 2), n_dims * LANES * 2), np.int8)
    for v in range(0, n - 1, 2):
        packed[v // 2] = by_word[v : v + 2].transpose(2, 0, 1, 3).reshape(-1)
    if n % 2:
        packed[n // 2, : n_dims * LANES] = by_word[n - 1].transpose(1, 0, 2).reshape(-1)
    aligned_corrections = _aligned((n, LANES), np.int32)
    aligned_corrections[:] = corrections.reshape(n, LANES)
    return packed, aligned_corrections, scales, starts.astype(np.int64)


def _unpack_order(plane_bits: tuple[int, ...], n_planes: int, n_dims: int) -> I64:
    """The dim at each position of an unpacked token."""
    bits = plane_bits[0]
    if len(block_bits(bits)) > 1 or (n_planes == 2 and plane_bits[1] != bits):
        return np.arange(n_dims)
    shifts = 8 // bits
    dims = np.arange(n_dims).reshape(n_dims // (4 * shifts), shifts, 4)
    return dims.transpose(1, 0, 2).reshape(-1)


def _aligned(shape: tuple[int, int], dtype: type) -> NDArray[Any]:
    n_bytes = shape[0] * shape[1] * np.dtype(dtype).itemsize
    raw = np.zeros(n_bytes + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + n_bytes].view(dtype).reshape(shape)


def _chunk_bounds(
    codes: Codes, ordinals: I64 | None, n: int, n_query_tokens: int, n_threads: int
) -> list[int]:
    """Where to cut the documents so that each chunk is about a millisecond of work."""
    if n_threads <= 1:
        return [0, n]
    tokens = codes.doclens if ordinals is None else codes.doclens[ordinals]
    ends = np.cumsum(tokens)
    per_chunk = max(pool.CHUNK_NS / (NS_PER_PAIR * max(n_query_tokens, LANES)), ends[-1] / (8 * n_threads))
    cuts = np.searchsorted(ends, np.arange(per_chunk, ends[-1], per_chunk))
    return sorted({0, n, *(int(cut) for cut in cuts)})


def _run(
    codes: Codes,
    n_planes: int,
    ordinals: I64,
    all_documents: bool,
    packed: Packed,
    scores: F32,
    first: int,
    last: int,
) -> None:
    query, corrections, scales, starts = packed
    second = codes.planes[n_planes - 1]
    score_documents(  # type: ignore[no-untyped-call]
        codes.planes[0].reshape(-1), second.reshape(-1), codes.plane_bits[0], codes.plane_bits[n_planes - 1], n_planes,
        codes.widths[n_planes - 1], codes.offsets, ordinals, all_documents, first, last,
        query.reshape(-1), corrections.reshape(-1), scales, starts, codes.padded_dim, scores,
    )  # fmt: skip
