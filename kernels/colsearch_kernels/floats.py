"""MaxSim over float vectors, exact in float32: a flat ragged array, or a list of documents."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from colsearch_kernels import emit, pool
from colsearch_kernels.codes import F32, I64
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.jit import kernel
from colsearch_kernels.tiers import tier

LANES = 16
# AVX2 has 16 registers of 8 lanes: 4 tokens x 16 query tokens take 8 of them.
TILE = 12 if tier() == "avx512" else 4
NS_PER_PAIR = 2.5
_pair_tile = emit.float_tile(TILE, 2)
_pair_one = emit.float_tile(1, 2)


def maxsim(
    query: NDArray[np.generic], vectors: NDArray[np.generic], doclens: I64, *, n_threads: int = 1
) -> F32:
    """Late-interaction score of one query against each document.

    Args:
        query: (n_query_tokens, dim) float32 or float16.
        vectors: (n_tokens, dim) float32 or float16, the documents' tokens end to end.
        doclens: (n_docs,) int64 tokens per document, each >= 0; sums to n_tokens.
        n_threads: threads to use.
    Returns: (n_docs,) float32 sum over query tokens of the best dot product; -inf without tokens.
    Raises: KernelInputError: for shapes, dtypes or layouts that do not fit, and for NaN or infinity in the
        query. NaN in `vectors` loses every comparison.
    Source: Khattab & Zaharia 2020, eq. 3. Oracle: reference.maxsim.
    """
    query, vectors = _checked(query, "query"), _checked(vectors, "vectors")
    if len(query) < 1 or query.shape[1] != vectors.shape[1]:
        raise KernelInputError(f"query {query.shape} and vectors {vectors.shape} do not fit together")
    if not np.isfinite(query).all():
        raise KernelInputError("the query holds NaN or infinity")
    offsets = _offsets(doclens, len(vectors))
    scores = np.empty(len(offsets) - 1, np.float32)
    if not len(scores):
        return scores
    packed, n_pairs = _packed(query)
    run = partial(_scores, vectors.reshape(-1), offsets, packed, n_pairs, len(query), query.shape[1], scores)
    per_chunk = max(pool.CHUNK_NS / (NS_PER_PAIR * 2 * LANES * n_pairs), 1.0)
    step = per_chunk if n_threads > 1 else np.inf
    cuts = np.searchsorted(offsets[1:], np.arange(step, offsets[-1], step)) if step < offsets[-1] else ()
    bounds = sorted({0, len(scores), *(int(cut) for cut in cuts)})
    pool.run([partial(run, first, last) for first, last in pairwise(bounds)], n_threads)
    return scores


def maxsim_list(
    query: NDArray[np.generic], documents: Sequence[NDArray[np.generic]], *, n_threads: int = 1
) -> F32:
    """`maxsim` over one (n_tokens, dim) array per document."""
    doclens = np.array([len(document) for document in documents], np.int64)
    if not len(doclens):
        return np.empty(0, np.float32)
    return maxsim(query, np.concatenate(list(documents)), doclens, n_threads=n_threads)


def _checked(array: NDArray[np.generic], name: str) -> F32:
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] < 1:
        raise KernelInputError(
            f"{name}: need a 2-d array (n_tokens, dim), not {getattr(array, 'shape', array)}"
        )
    if array.dtype not in (np.dtype(np.float32), np.dtype(np.float16)):
        raise KernelInputError(
            f"{name}: need float32 or float16 in this machine's byte order, not {array.dtype.str}"
        )
    return np.require(array, np.float32, ["C", "A"])


def _offsets(doclens: I64, n_tokens: int) -> I64:
    if not isinstance(doclens, np.ndarray) or doclens.dtype != np.int64 or doclens.ndim != 1:
        raise KernelInputError("doclens: need a 1-d int64 array")
    offsets = np.concatenate([[0], np.cumsum(doclens)])
    if (doclens < 0).any() or offsets[-1] != n_tokens:
        raise KernelInputError(f"doclens: must be >= 0 and sum to {n_tokens} tokens, not {offsets[-1]}")
    return offsets.astype(np.int64)


def _packed(query: F32) -> tuple[F32, int]:
    """(n_pairs * dim * 32,) float32: for each pair of lane vectors, dim by dim."""
    n_pairs = -(-len(query) // (2 * LANES))
    lanes = np.zeros((n_pairs * 2 * LANES, query.shape[1]), np.float32)
    lanes[: len(query)] = query
    raw = np.zeros(lanes.size + LANES, np.float32)
    skip = (-raw.ctypes.data % 64) // 4
    packed = raw[skip : skip + lanes.size]
    packed[:] = lanes.reshape(n_pairs, 2 * LANES, -1).transpose(0, 2, 1).reshape(-1)
    return packed, n_pairs


@njit(nogil=True, error_model="numpy")
def _document_score(vectors_at, start, stop, query_at, n_pairs, n_query_tokens, dim, maxima, maxima_at):  # type: ignore[no-untyped-def]
    for lane in range(32 * n_pairs):
        maxima[lane] = -np.inf
    for first in range(start, stop, TILE):
        for pair in range(n_pairs):
            query = query_at + pair * dim * 128
            if first + TILE <= stop:
                _pair_tile(vectors_at + first * dim * 4, dim * 4, query, maxima_at + 128 * pair, dim)
            else:
                for token in range(first, stop):
                    _pair_one(vectors_at + token * dim * 4, dim * 4, query, maxima_at + 128 * pair, dim)
    total = 0.0
    for lane in range(n_query_tokens):
        total += np.float64(maxima[lane])
    return np.float32(total)


@kernel
def _scores(vectors, offsets, query, n_pairs, n_query_tokens, dim, scores, first, last):  # type: ignore[no-untyped-def]
    raw = np.zeros(32 * n_pairs + 16, np.float32)
    skip = ((-raw.ctypes.data) % 64) // 4
    maxima = raw[skip:]
    for i in range(first, last):
        if offsets[i] == offsets[i + 1]:
            scores[i] = -np.inf
        else:
            scores[i] = _document_score(
                vectors.ctypes.data, offsets[i], offsets[i + 1], query.ctypes.data, n_pairs,
                n_query_tokens, dim, maxima, maxima.ctypes.data,
            )  # fmt: skip
