"""The kernel over float vectors: float32 sums, of float32 products or of bfloat16 ones.

Rows that already are what a tile reads are read where they lie; others are converted a tile at a time. All
arguments are integers or addresses, so that numba compiles one signature, whatever kind of array the caller
has. Nothing is checked here: see floats.py. The slow and clear twin is `reference.maxsim`.
"""

import numpy as np
from numba import njit

from colsearch_kernels.arithmetic import BFloat16, Float32
from colsearch_kernels.emit import prefetch, read_f32, read_i32, read_i64, tile, write_f32, write_i32
from colsearch_kernels.jit import kernel
from colsearch_kernels.tiers import target_features
from colsearch_kernels.tiers import tier as chosen_tier
from colsearch_kernels.unpack import float_row

TIER = chosen_tier()
TILE, SMALL, VECTORS = TIER.float_tile, TIER.small_tile, TIER.vectors
# Elsewhere bfloat16 numbers are widened, and their float32 products are exact.
NATIVE_BFLOAT16 = TIER.name == "avx512" and "avx512bf16" in target_features()
FLOAT32, FLOAT16, BFLOAT16 = range(3)

_narrow = "bfloat16" if NATIVE_BFLOAT16 else "rounded"
_copy, _from_half, _widen = (
    float_row(source, "float32", TIER.halves) for source in ("float32", "float16", "bfloat16")
)
_round, _round_half, _copy_narrow = (
    float_row(source, _narrow, TIER.halves) for source in ("float32", "float16", "bfloat16")
)
_large, _small = tile(Float32(), TILE, VECTORS), tile(Float32(), SMALL, VECTORS)
_large_one, _small_one = tile(Float32(), TILE, 1), tile(Float32(), SMALL, 1)
_narrow_arithmetic = BFloat16() if NATIVE_BFLOAT16 else Float32()
_narrow_large, _narrow_small = (tile(_narrow_arithmetic, n, VECTORS) for n in (TILE, SMALL))
_narrow_large_one, _narrow_small_one = (tile(_narrow_arithmetic, n, 1) for n in (TILE, SMALL))
_PREFETCH_BYTES = 8192


@njit(nogil=True, error_model="numpy")
def _convert(source, narrow, first, last, row_bytes, n_rows, dim, out_bytes, out):  # type: ignore[no-untyped-def]
    """n_rows rows from address `first` on, none beyond the one at `last`: that is repeated."""
    for i in range(n_rows):
        row, to = min(first + i * row_bytes, last), out + i * out_bytes
        if narrow:
            if source == FLOAT32:
                _round(row, dim, to)
            elif source == FLOAT16:
                _round_half(row, dim, to)
            else:
                _copy_narrow(row, dim, to)
        elif source == FLOAT32:
            _copy(row, dim, to)
        elif source == FLOAT16:
            _from_half(row, dim, to)
        else:
            _widen(row, dim, to)


@njit(nogil=True, error_model="numpy")
def _run_tile(narrow, small, pair, rows, row_bytes, n_words, query, maxima):  # type: ignore[no-untyped-def]
    if narrow:
        if small:
            if pair:
                return _narrow_small(rows, row_bytes, n_words, query, 0, 0, maxima)
            return _narrow_small_one(rows, row_bytes, n_words, query, 0, 0, maxima)
        if pair:
            return _narrow_large(rows, row_bytes, n_words, query, 0, 0, maxima)
        return _narrow_large_one(rows, row_bytes, n_words, query, 0, 0, maxima)
    if small:
        if pair:
            return _small(rows, row_bytes, n_words, query, 0, 0, maxima)
        return _small_one(rows, row_bytes, n_words, query, 0, 0, maxima)
    if pair:
        return _large(rows, row_bytes, n_words, query, 0, 0, maxima)
    return _large_one(rows, row_bytes, n_words, query, 0, 0, maxima)


@njit(nogil=True, error_model="numpy")
def _document(  # type: ignore[no-untyped-def]
    source, narrow, direct, start, stop, row_bytes, dim, n_words, query, n_vectors, rows, maxima
):
    """Max into `maxima` the similarities of the rows at start..stop; nonzero if one is not finite."""
    bad = 0
    first = start
    while first < stop:
        small = stop - first <= (TILE - SMALL) * row_bytes
        n_rows = SMALL if small else TILE
        # Some rows of the tile before once more change no maximum.
        begin = min(first, stop - n_rows * row_bytes)
        if direct and begin >= start:
            tile_rows, tile_bytes = begin, row_bytes
        else:
            _convert(source, narrow, first, stop - row_bytes, row_bytes, n_rows, dim, 4 * n_words, rows)
            tile_rows, tile_bytes = rows, 4 * n_words
        for v in range(0, n_vectors, VECTORS):
            at, to = query + v * 64 * n_words, maxima + 64 * v
            pair = v + VECTORS <= n_vectors
            bad |= _run_tile(narrow, small, pair, tile_rows, tile_bytes, n_words, at, to)
        first += n_rows * row_bytes
    return bad


@kernel
def pack_query(lanes, n_query_tokens, n_words, query):  # type: ignore[no-untyped-def]
    """Lay 32-bit words into lanes of 16, zeros where no token is.

    lanes: (n_query_tokens, n_words) words; query: n_vectors x n_words x 16 words, in groups as `tile` reads them.
    """
    n_vectors = -(n_query_tokens // -16)
    for i in range(16 * n_vectors):
        v = i // 16
        # The last vector of an odd number stands alone.
        group = VECTORS if v // VECTORS * VECTORS + VECTORS <= n_vectors else 1
        to = query + v // group * group * 64 * n_words + (v % group) * 64 + i % 16 * 4
        for word in range(n_words):
            value = read_i32(lanes, i * n_words + word) if i < n_query_tokens else np.int32(0)
            write_i32(to + word * 64 * group, 0, value)


@kernel
def score_documents(  # type: ignore[no-untyped-def]
    source,
    narrow,
    starts,
    doclens,
    first,
    last,
    row_bytes,
    dim,
    n_words,
    query,
    n_query_tokens,
    scratch,
    scores,
):
    """scores[i] of documents first..last - 1; NaN for one with a number that is not finite.

    starts: (n_docs,) int64 addresses of the documents' first rows; doclens: (n_docs,) int64; query: as
    `pack_query` leaves it; scratch: zeros, aligned to 64 bytes, of scratch_bytes(n_words, n_query_tokens).
    """
    n_vectors = -(n_query_tokens // -16)
    # A row of bfloat16 that ends within a word is copied, and the rest of its last word stays zero.
    direct = (narrow == 0 and source == FLOAT32) or (
        narrow == 1 and NATIVE_BFLOAT16 and source == BFLOAT16 and dim % 2 == 0
    )
    maxima, rows = scratch, scratch + 64 * n_vectors
    for i in range(first, last):
        start, n_tokens = read_i64(starts, i), read_i64(doclens, i)
        if n_tokens == 0:
            write_f32(scores, i, np.float32(-np.inf))
            continue
        if i + 1 < last:
            prefetch(read_i64(starts, i + 1), min(read_i64(doclens, i + 1) * row_bytes, _PREFETCH_BYTES))
        for lane in range(16 * n_vectors):
            write_f32(maxima, lane, np.float32(-np.inf))
        bad = _document(
            source, narrow, direct, start, start + n_tokens * row_bytes, row_bytes, dim, n_words,
            query, n_vectors, rows, maxima,
        )  # fmt: skip
        total = 0.0
        for lane in range(n_query_tokens):
            total += np.float64(read_f32(maxima, lane))
        write_f32(scores, i, np.float32(np.nan) if bad else np.float32(total))


def words_per_row(dim: int, narrow: bool) -> int:
    """32-bit words of a row as the tile reads it."""
    return -(dim // -2) if narrow and NATIVE_BFLOAT16 else dim


def scratch_bytes(n_words: int, n_query_tokens: int) -> int:
    """Of `score_documents`: maxima and the rows of one tile."""
    return -(n_query_tokens // -16) * 64 + 4 * n_words * TILE
