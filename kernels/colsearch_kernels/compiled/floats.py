"""The kernels over float vectors: float32 sums, of float32 products or of bfloat16 ones.

Rows that already are what a tile reads are read where they lie; others are converted a tile at a time. Callers check
the contents of arrays, see scoring/maxsim_floats.py. The slow and clear twin is `reference.maxsim`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels.arguments import (
    BFLOAT16,
    F32,
    FLOAT16,
    FLOAT32,
    I64,
    NOT_FINITE,
    OVERFLOWS,
    U8,
    FloatDocuments,
    FloatFormat,
)
from colsearch_kernels.compiled.arithmetic import BFloat16, Float32
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import (
    LINE_BYTES,
    Address,
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
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES, has_native_bfloat16
from colsearch_kernels.runtime.tiers import tier as chosen_tier

TIER = chosen_tier()
TILE, SMALL, VECTORS = TIER.float_tile, TIER.small_tile, TIER.vectors
NATIVE_BFLOAT16 = has_native_bfloat16()

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
# Cache lines that a tile prefetches in each turn of its loop. Where there are none, the beginning of the next document
# is prefetched at once.
LARGE_LINES, SMALL_LINES = lines_per_turn(TILE), lines_per_turn(SMALL)
WORDS_PER_TURN = TIER.words_per_turn
_PREFETCH_BYTES = 8192


@subroutine
def _convert(
    rows: FloatFormat, first: Address, last: Address, n_rows: int, out_bytes: int, out: Address
) -> None:
    """Convert n_rows rows from address `first` on; instead of rows beyond the one at `last`, that one is repeated."""
    for i in range(n_rows):
        row, to = min(first + i * rows.row_bytes, last), out + i * out_bytes
        if rows.narrow:
            if rows.source == FLOAT32:
                _round(row, rows.dim, to)
            elif rows.source == FLOAT16:
                _round_half(row, rows.dim, to)
            else:
                _copy_narrow(row, rows.dim, to)
        elif rows.source == FLOAT32:
            _copy(row, rows.dim, to)
        elif rows.source == FLOAT16:
            _from_half(row, rows.dim, to)
        else:
            _widen(row, rows.dim, to)


@subroutine
def _run_tile(
    narrow: int,
    small: bool,
    pair: bool,
    rows: Address,
    row_bytes: int,
    n_words: int,
    query: Address,
    maxima: Address,
    ahead: Address,
) -> int:
    """One tile; `pair` takes VECTORS vectors of query tokens, else one. Nonzero if a similarity is not finite."""
    # Without native bfloat16 both kinds of tiles are the same, and compiling them twice takes a second.
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
def _is_read_in_place(rows: FloatFormat) -> bool:
    """Whether rows already are what a tile reads."""
    # A row of bfloat16 that ends within a word is copied, so that the rest of its last word is zero.
    return (rows.narrow == 0 and rows.source == FLOAT32) or (
        rows.narrow == 1 and NATIVE_BFLOAT16 and rows.source == BFLOAT16 and rows.dim % 2 == 0
    )


@subroutine
def _document(
    format_: FloatFormat,
    start: Address,
    stop: Address,
    next_start: Address,
    n_prefetched: int,
    query: Address,
    n_vectors: int,
    rows: Address,
    maxima: Address,
) -> tuple[int, int]:
    """Raise `maxima` to the similarities of the rows at start..stop.

    n_prefetched: bytes of this document that were prefetched before. The tiles prefetch the rest of it, and then the
    document that starts at next_start.
    Returns: nonzero if a similarity is not finite, and n_prefetched of the next document.
    """
    row_bytes, n_words = format_.row_bytes, format_.n_words
    in_place = _is_read_in_place(format_)
    bad, n_next_prefetched = 0, 0
    first = start
    while first < stop:
        small = stop - first <= (TILE - SMALL) * row_bytes
        n_rows = SMALL if small else TILE
        # Scoring some rows of the tile before once more changes no maximum.
        begin = min(first, stop - n_rows * row_bytes)
        if in_place and begin >= start:
            tile_rows, tile_bytes = begin, row_bytes
        else:
            _convert(format_, first, stop - row_bytes, n_rows, 4 * n_words, rows)
            tile_rows, tile_bytes = rows, 4 * n_words
        # Prefetching what this tile reads would come too late.
        n_prefetched = max(n_prefetched, begin - start + n_rows * row_bytes)
        n_ahead = LINE_BYTES * (SMALL_LINES if small else LARGE_LINES) * (n_words // WORDS_PER_TURN)
        if start + n_prefetched < stop:
            ahead = start + n_prefetched
            n_prefetched += n_ahead
        else:
            ahead = next_start + n_next_prefetched
            n_next_prefetched += n_ahead
        for v in range(0, n_vectors, VECTORS):
            at, to = query + v * VECTOR_BYTES * n_words, maxima + VECTOR_BYTES * v
            pair = v + VECTORS <= n_vectors
            bad |= _run_tile(format_.narrow, small, pair, tile_rows, tile_bytes, n_words, at, to, ahead)
        first += n_rows * row_bytes
    return bad, n_next_prefetched


@subroutine
def _are_finite(words: Address, n: int) -> bool:
    """Whether none of n float32 has an exponent of all ones, as NaN and the infinities have."""
    largest = np.int32(0)
    for i in range(n):
        largest = max(largest, np.int32(read_i32(words, i) & np.int32(0x7FFFFFFF)))
    return bool(largest < 0x7F800000)


@subroutine
def _widened(format_: FloatFormat) -> FloatFormat:
    """The format of the same rows, converted to float32 without rounding."""
    return FloatFormat(format_.source, 0, format_.row_bytes, format_.dim, format_.dim)


@subroutine
def _rounded(format_: FloatFormat) -> FloatFormat:
    """The format of float32 rows that are to be rounded to bfloat16."""
    return FloatFormat(FLOAT32, 1, 4 * format_.dim, format_.dim, format_.n_words)


def pack_query(
    format_: FloatFormat, tokens: NDArray[Any], n_query_tokens: int, scratch: U8, query: U8
) -> int:
    """Lay a query into lanes, zeros where no token is; NOT_FINITE or OVERFLOWS if it has such numbers, else 0.

    tokens: (n_query_tokens, dim) of the format's type; scratch: 8 * LANES * dim + 8 bytes; query: n_vectors x
    n_words x LANES words, in groups as `tile` reads them.
    """
    dim, n_words = format_.dim, format_.n_words
    n_vectors = -(n_query_tokens // -LANES)
    # Tokens of one vector as float32, and as narrower words; of an odd dim the last of these is half empty.
    exact, words = scratch, scratch + VECTOR_BYTES * dim
    for v in range(n_vectors):
        n = min(LANES, n_query_tokens - LANES * v)
        if n < LANES:
            for word in range(2 * LANES * dim + 2):
                write_i32(scratch, word, np.int32(0))
        first = tokens + LANES * v * format_.row_bytes
        _convert(_widened(format_), first, first + (n - 1) * format_.row_bytes, n, 4 * dim, exact)
        if not _are_finite(exact, n * dim):
            return NOT_FINITE
        if format_.narrow:
            for i in range(n):
                _round_float32(exact + i * 4 * dim, dim, words + i * 4 * dim)
            if not _are_finite(words, n * dim):
                return OVERFLOWS
            if NATIVE_BFLOAT16:
                for word in range(LANES * n_words):
                    write_i32(words, word, np.int32(0))
                _convert(_rounded(format_), exact, exact + (n - 1) * 4 * dim, n, 4 * n_words, words)
        # With an odd number of vectors the last one is laid out by itself.
        group = VECTORS if v // VECTORS * VECTORS + VECTORS <= n_vectors else 1
        to = query + v // group * group * VECTOR_BYTES * n_words + (v % group) * VECTOR_BYTES
        lay_into_lanes(words if format_.narrow else exact, 4 * n_words, n_words, to, VECTOR_BYTES * group)
    return 0


def place_documents(
    doclens: I64, n_docs: int, n_tokens: int, vectors: NDArray[Any] | None, row_bytes: int, starts: I64
) -> int:
    """Addresses of the first rows of documents that lie end to end; 0 if lengths do not sum to n_tokens, else 1.

    doclens: (n_docs,) int64; vectors: None counts rows of row_bytes from 0; starts: (n_docs,) int64.
    """
    first: Address = vectors
    n_before = 0
    for i in range(n_docs):
        doclen = read_i64(doclens, i)
        # Compared in this way, sums of huge numbers cannot wrap around.
        if doclen < 0 or doclen > n_tokens - n_before:
            return 0
        write_i64(starts, i, first + n_before * row_bytes)
        n_before += doclen
    return int(n_before == n_tokens)


def score_documents(
    documents: FloatDocuments, first: int, last: int, query: U8, n_query_tokens: int, scratch: U8, scores: F32
) -> int:
    """scores[i] of documents first..last - 1; returns how many are not finite, since a number or a sum is not.

    query: as `pack_query` writes it; scratch: zeros, the maxima and rows of one tile, aligned to VECTOR_BYTES.
    """
    format_ = documents.format
    n_vectors = -(n_query_tokens // -LANES)
    maxima, rows = scratch, scratch + VECTOR_BYTES * n_vectors
    n_bad = n_prefetched = 0
    for i in range(first, last):
        start, n_tokens = read_i64(documents.starts, i), read_i64(documents.doclens, i)
        if n_tokens == 0:
            write_f32(scores, i, np.float32(-np.inf))
            continue
        next_start = start
        if i + 1 < last:
            next_start = read_i64(documents.starts, i + 1)
            if LARGE_LINES == 0:
                n_next_bytes = read_i64(documents.doclens, i + 1) * format_.row_bytes
                prefetch(next_start, min(n_next_bytes, _PREFETCH_BYTES))
        for lane in range(LANES * n_vectors):
            write_f32(maxima, lane, np.float32(-np.inf))
        bad, n_prefetched = _document(
            format_,
            start,
            start + n_tokens * format_.row_bytes,
            next_start,
            n_prefetched,
            query,
            n_vectors,
            rows,
            maxima,
        )
        total = 0.0
        for lane in range(n_query_tokens):
            total += np.float64(read_f32(maxima, lane))
        score = np.float32(np.nan) if bad else np.float32(total)
        n_bad += not np.isfinite(score)
        write_f32(scores, i, score)
    return n_bad
