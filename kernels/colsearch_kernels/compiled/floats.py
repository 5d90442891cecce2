"""The kernels over float vectors: float32 sums, of float32 products or of bfloat16 ones.

Rows that already are what a tile reads are read where they lie; others are converted a tile at a time. Nothing is
checked here: see floats.py of the package. The slow and clear twin is `reference.maxsim`.
"""

import numpy as np

from colsearch_kernels.compiled.arithmetic import BFloat16, Float32
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import (
    lay_into_lanes,
    lines_per_turn,
    prefetch,
    read_f32,
    read_i32,
    read_i64,
    tile_with_prefetch,
    write_f32,
    write_i32,
    write_i64,
)
from colsearch_kernels.compiled.unpack import float_row
from colsearch_kernels.runtime.tiers import tier as chosen_tier
from colsearch_kernels.scoring.floats import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    NATIVE_BFLOAT16,
    NOT_FINITE,
    OVERFLOWS,
)

TIER = chosen_tier()
TILE, SMALL, VECTORS = TIER.float_tile, TIER.small_tile, TIER.vectors

_narrow = "bfloat16" if NATIVE_BFLOAT16 else "rounded"
_copy, _from_half, _widen = (
    float_row(source, "float32", TIER.halves) for source in ("float32", "float16", "bfloat16")
)
_round, _round_half, _copy_narrow = (
    float_row(source, _narrow, TIER.halves) for source in ("float32", "float16", "bfloat16")
)
_round_float32 = float_row("float32", "rounded", TIER.halves)
_large, _small = tile_with_prefetch(Float32(), TILE, VECTORS), tile_with_prefetch(Float32(), SMALL, VECTORS)
_large_one, _small_one = tile_with_prefetch(Float32(), TILE, 1), tile_with_prefetch(Float32(), SMALL, 1)
_narrow_arithmetic = BFloat16() if NATIVE_BFLOAT16 else Float32()
_narrow_large, _narrow_small = (tile_with_prefetch(_narrow_arithmetic, n, VECTORS) for n in (TILE, SMALL))
_narrow_large_one, _narrow_small_one = (tile_with_prefetch(_narrow_arithmetic, n, 1) for n in (TILE, SMALL))
# Prefetched by a tile in each turn of its loop; where none are, the beginning of the next document is, at once.
LARGE_LINES, SMALL_LINES = lines_per_turn(TILE), lines_per_turn(SMALL)
WORDS_PER_TURN = TIER.words_per_turn
_PREFETCH_BYTES = 8192


@subroutine
def _convert(source, narrow, first, last, row_bytes, n_rows, dim, out_bytes, out):
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


@subroutine
def _run_tile(narrow, small, pair, rows, row_bytes, n_words, query, maxima, ahead):
    # Elsewhere the tiles are the same, and compiling them twice takes a second.
    if NATIVE_BFLOAT16 and narrow:
        if small:
            if pair:
                return _narrow_small(rows, row_bytes, n_words, query, 0, 0, maxima, ahead)
            return _narrow_small_one(rows, row_bytes, n_words, query, 0, 0, maxima, ahead)
        if pair:
            return _narrow_large(rows, row_bytes, n_words, query, 0, 0, maxima, ahead)
        return _narrow_large_one(rows, row_bytes, n_words, query, 0, 0, maxima, ahead)
    if small:
        if pair:
            return _small(rows, row_bytes, n_words, query, 0, 0, maxima, ahead)
        return _small_one(rows, row_bytes, n_words, query, 0, 0, maxima, ahead)
    if pair:
        return _large(rows, row_bytes, n_words, query, 0, 0, maxima, ahead)
    return _large_one(rows, row_bytes, n_words, query, 0, 0, maxima, ahead)


@subroutine
def _document(
    source, narrow, direct, start, stop, next_start, n_asked, row_bytes, dim, n_words,
    query, n_vectors, rows, maxima,
):  # fmt: skip
    """Max into `maxima` the similarities of the rows at start..stop.

    n_asked: bytes of the document that were prefetched before; of this one, what no tile prefetched, is
    prefetched tile by tile, and then the next one's, which starts at next_start.
    Returns: nonzero if a similarity is not finite, and n_asked of the next document.
    """
    bad, next_asked = 0, 0
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
        # What this tile reads is too late to ask for.
        n_asked = max(n_asked, begin - start + n_rows * row_bytes)
        n_ahead = 64 * (SMALL_LINES if small else LARGE_LINES) * (n_words // WORDS_PER_TURN)
        if start + n_asked < stop:
            ahead = start + n_asked
            n_asked += n_ahead
        else:
            ahead = next_start + next_asked
            next_asked += n_ahead
        for v in range(0, n_vectors, VECTORS):
            at, to = query + v * 64 * n_words, maxima + 64 * v
            pair = v + VECTORS <= n_vectors
            bad |= _run_tile(narrow, small, pair, tile_rows, tile_bytes, n_words, at, to, ahead)
        first += n_rows * row_bytes
    return bad, next_asked


@subroutine
def _are_finite(words, n):
    """Whether none of n float32 has an exponent of all ones, as NaN and the infinities have."""
    largest = np.int32(0)
    for i in range(n):
        largest = max(largest, np.int32(read_i32(words, i) & np.int32(0x7FFFFFFF)))
    return largest < 0x7F800000


def pack_query(source, narrow, tokens, n_query_tokens, row_bytes, dim, n_words, scratch, query):
    """Lay a query into lanes of 16, zeros where no token is; NOT_FINITE or OVERFLOWS if it has such numbers, else 0.

    tokens: (n_query_tokens, dim) of the source type, row_bytes apart; scratch: 8 * 16 * dim + 8 bytes;
    query: n_vectors x n_words x 16 words, in groups as `tile` reads them.
    """
    n_vectors = -(n_query_tokens // -16)
    # Tokens of one vector as float32, and as narrower words; of an odd dim the last of these is half empty.
    exact, words = scratch, scratch + 64 * dim
    for v in range(n_vectors):
        n = min(16, n_query_tokens - 16 * v)
        if n < 16:
            for word in range(32 * dim + 2):
                write_i32(scratch, word, np.int32(0))
        first = tokens + 16 * v * row_bytes
        last = first + (n - 1) * row_bytes
        _convert(source, 0, first, last, row_bytes, n, dim, 4 * dim, exact)
        if not _are_finite(exact, n * dim):
            return NOT_FINITE
        if narrow:
            last = exact + (n - 1) * 4 * dim
            for i in range(n):
                _round_float32(exact + i * 4 * dim, dim, words + i * 4 * dim)
            if not _are_finite(words, n * dim):
                return OVERFLOWS
            if NATIVE_BFLOAT16:
                for word in range(16 * n_words):
                    write_i32(words, word, np.int32(0))
                _convert(FLOAT32, 1, exact, last, 4 * dim, n, dim, 4 * n_words, words)
        # The last vector of an odd number stands alone.
        group = VECTORS if v // VECTORS * VECTORS + VECTORS <= n_vectors else 1
        to = query + v // group * group * 64 * n_words + (v % group) * 64
        lay_into_lanes(words if narrow else exact, 4 * n_words, n_words, to, 64 * group)
    return 0


def place_documents(doclens, n_docs, n_tokens, vectors, row_bytes, starts):
    """Addresses of the first rows of documents that lie end to end; 0 if lengths do not sum to n_tokens, else 1.

    doclens: (n_docs,) int64; starts: (n_docs,) int64.
    """
    n_before = 0
    for i in range(n_docs):
        doclen = read_i64(doclens, i)
        # Compared so, sums of huge numbers cannot wrap around.
        if doclen < 0 or doclen > n_tokens - n_before:
            return 0
        write_i64(starts, i, vectors + n_before * row_bytes)
        n_before += doclen
    return int(n_before == n_tokens)


def score_documents(
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
    """scores[i] of documents first..last - 1; how many are not finite, since a number or a sum is not.

    starts: (n_docs,) int64 addresses of the documents' first rows; doclens: (n_docs,) int64; query: as
    `pack_query` leaves it; scratch: zeros, aligned to 64 bytes, of scratch_bytes(n_words, n_query_tokens).
    """
    n_vectors = -(n_query_tokens // -16)
    # A row of bfloat16 that ends within a word is copied, and the rest of its last word stays zero.
    direct = (narrow == 0 and source == FLOAT32) or (
        narrow == 1 and NATIVE_BFLOAT16 and source == BFLOAT16 and dim % 2 == 0
    )
    maxima, rows = scratch, scratch + 64 * n_vectors
    n_bad = n_asked = 0
    for i in range(first, last):
        start, n_tokens = read_i64(starts, i), read_i64(doclens, i)
        if n_tokens == 0:
            write_f32(scores, i, np.float32(-np.inf))
            continue
        next_start = start
        if i + 1 < last:
            next_start = read_i64(starts, i + 1)
            if LARGE_LINES == 0:
                prefetch(next_start, min(read_i64(doclens, i + 1) * row_bytes, _PREFETCH_BYTES))
        for lane in range(16 * n_vectors):
            write_f32(maxima, lane, np.float32(-np.inf))
        bad, n_asked = _document(
            source, narrow, direct, start, start + n_tokens * row_bytes, next_start, n_asked, row_bytes, dim, n_words,
            query, n_vectors, rows, maxima,
        )  # fmt: skip
        total = 0.0
        for lane in range(n_query_tokens):
            total += np.float64(read_f32(maxima, lane))
        score = np.float32(np.nan) if bad else np.float32(total)
        n_bad += not np.isfinite(score)
        write_f32(scores, i, score)
    return n_bad
