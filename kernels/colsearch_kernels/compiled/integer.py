"""The kernels over stored codes and int8 vectors: rows are unpacked a tile at a time, then scored as bytes.

Every tier computes the same integers and the same float32 products, so a score is the same number anywhere;
`reference.score_codes` is the slow and clear twin. Nothing is checked here: see scoring.py.
"""

import numpy as np

from colsearch_kernels.compiled.arithmetic import Integer, document_bias, query_factor
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import (
    prefetch,
    read_f32,
    read_i8,
    read_i32,
    read_i64,
    tile,
    write_f32,
    write_i32,
    write_i64,
)
from colsearch_kernels.compiled.unpack import code_row, half_reader, scaled_widths, signed_row
from colsearch_kernels.layout.packing import BITS_1, BITS_2, BITS_2_6, BITS_4, BITS_4_4, BYTES, SIGNED
from colsearch_kernels.runtime.tiers import tier as chosen_tier

TIER = chosen_tier()
TILE, SMALL, VECTORS = TIER.tile, TIER.small_tile, TIER.vectors
QUERY_FACTOR, DOCUMENT_BIAS = query_factor(TIER.name), document_bias(TIER.name)
_row_8, _row_4, _row_2, _row_1 = (code_row((bits,)) for bits in (8, 4, 2, 1))
_row_4_4, _row_2_6 = code_row((4, 4)), code_row((2, 6))
read_f16 = half_reader(TIER.halves)
_large_widths, _small_widths = (scaled_widths(n, 16, TIER.halves) for n in (TILE, SMALL))
_large_scales, _small_scales = (scaled_widths(n, 32, TIER.halves) for n in (TILE, SMALL))
arithmetic = Integer(TIER.name)
_large, _small = tile(arithmetic, TILE, VECTORS), tile(arithmetic, SMALL, VECTORS)
_large_one, _small_one = tile(arithmetic, TILE, 1), tile(arithmetic, SMALL, 1)
# Of the next document, asked for while one is scored; what lies beyond, the hardware follows by itself.
_PREFETCH_BYTES = 8192


@subroutine
def _unpack(layout, plane0, plane1, bytes0, bytes1, n_present, n_rows, n_dims, out):
    """The rows from the addresses on, one byte a dim; if fewer are present, the last one is repeated."""
    # Rows of whole planes lie end to end, as they do in `out`: one long run of dims.
    if layout == BITS_4:
        _row_4(plane0, plane1, n_present * n_dims, out)
    elif layout == BITS_4_4:
        _row_4_4(plane0, plane1, n_present * n_dims, out)
    elif layout == BITS_2:
        _row_2(plane0, plane1, n_present * n_dims, out)
    elif layout == BITS_1:
        _row_1(plane0, plane1, n_present * n_dims, out)
    elif layout == BYTES:
        _row_8(plane0, plane1, n_present * n_dims, out)
    elif layout == SIGNED and bytes0 == n_dims:
        signed_row(plane0, n_present * n_dims, out)
    else:
        for i in range(n_present):
            if layout == BITS_2_6:
                _row_2_6(plane0 + i * bytes0, plane1 + i * bytes1, n_dims, out + i * n_dims)
            else:
                # A row of signed bytes may end within a word; the query's dims there are 0.
                signed_row(plane0 + i * bytes0, bytes0, out + i * n_dims)
    for word in range(n_present * n_dims // 4, n_rows * n_dims // 4):
        write_i32(out, word, read_i32(out, word - n_dims // 4))


@subroutine
def _document(
    layout, plane0, plane1, bytes0, bytes1, widths, scale, start, stop,
    n_dims, query, initial, n_vectors, rows, tile_widths, maxima, next0, next1, n_next,
):  # fmt: skip
    """Max into `maxima` the similarities of tokens start..stop - 1.

    next0, next1: where the next document lies, of n_next tokens; with each tile as many of them are asked for.
    """
    n_next = min(n_next, _PREFETCH_BYTES // bytes0)
    n_asked = 0
    # With one vector of query tokens, a small tile waits for its own sums most of the time.
    few = SMALL if n_vectors == 1 else TILE - SMALL
    first = start
    while first < stop:
        small = stop - first <= few
        n_rows = SMALL if small else TILE
        # Some tokens of the tile before once more change no maximum.
        begin = max(start, min(first, stop - n_rows))
        n_present = min(n_rows, stop - begin)
        n_more = min(n_rows if stop - first > n_rows else n_next, n_next - n_asked)
        prefetch(next0 + n_asked * bytes0, n_more * bytes0)
        prefetch(next1 + n_asked * bytes1, n_more * bytes1)
        n_asked += n_more
        # Bytes need no unpacking, unless the tile would read beyond the document.
        if layout == BYTES and n_present == n_rows:
            tile_rows = plane0 + begin * bytes0
        else:
            _unpack(
                layout, plane0 + begin * bytes0, plane1 + begin * bytes1, bytes0, bytes1,
                n_present, n_rows, n_dims, rows,
            )  # fmt: skip
            tile_rows = rows
        if n_present < n_rows:
            for i in range(n_rows):
                token = begin + min(i, n_present - 1)
                width = read_f32(widths, token) if layout == SIGNED else read_f16(widths, token)
                write_f32(tile_widths, i, width * scale)
        elif layout == SIGNED:
            if small:
                _small_scales(widths + 4 * begin, scale, tile_widths)
            else:
                _large_scales(widths + 4 * begin, scale, tile_widths)
        elif small:
            _small_widths(widths + 2 * begin, scale, tile_widths)
        else:
            _large_widths(widths + 2 * begin, scale, tile_widths)
        v = 0
        while v < n_vectors:
            at, initial_at, maxima_at = query + v * 16 * n_dims, initial + 64 * v, maxima + 64 * v
            if v + VECTORS <= n_vectors:
                if small:
                    _small(tile_rows, n_dims, n_dims // 4, at, initial_at, tile_widths, maxima_at)
                else:
                    _large(tile_rows, n_dims, n_dims // 4, at, initial_at, tile_widths, maxima_at)
                v += VECTORS
            else:
                if small:
                    _small_one(tile_rows, n_dims, n_dims // 4, at, initial_at, tile_widths, maxima_at)
                else:
                    _large_one(tile_rows, n_dims, n_dims // 4, at, initial_at, tile_widths, maxima_at)
                v += 1
        first += n_rows


def pack_query(
    values, token_scales, n_query_tokens, n_dims, center, number, first_vector, n_vectors,
    query, initial, scales, starts,
):  # fmt: skip
    """Lay query `number` into lanes, from `first_vector` on; returns the vector where the next one starts.

    values: (n_query_tokens, n_dims) int8; token_scales: (n_query_tokens,) float32; query: n_vectors x n_dims
    x 16 int8, as `tile` reads them; initial: n_vectors x 16 int32, minus `center` times the sum of a token's
    values; scales: n_vectors x 16 float32; starts: first vectors.
    """
    n_words = n_dims // 4
    next_vector = first_vector - n_query_tokens // -16
    for i in range(16 * (next_vector - first_vector)):
        v = first_vector + i // 16
        # The last vector of an odd number stands alone.
        group = VECTORS if v // VECTORS * VECTORS + VECTORS <= n_vectors else 1
        to = query + v // group * group * 16 * n_dims + (v % group) * 64 + i % 16 * 4
        present = i < n_query_tokens
        total = 0
        if present:
            for dim in range(n_dims):
                total += read_i8(values, i * n_dims + dim)
        for word in range(n_words):
            value = read_i32(values, i * n_words + word) if present else 0
            if QUERY_FACTOR == 2:
                # Doubling four signed bytes at once: each one's top bit goes, its new low bit is 0.
                value = (value << 1) & 0xFEFEFEFE
            write_i32(to + word * 64 * group, 0, np.int32(value))
        write_i32(initial, 16 * first_vector + i, np.int32(total * (2 * DOCUMENT_BIAS - center)))
        write_f32(scales, 16 * first_vector + i, read_f32(token_scales, i) if present else np.float32(0))
    write_i64(starts, number, first_vector)
    write_i64(starts, number + 1, next_vector)
    return next_vector


def score_documents(
    layout, plane0, plane1, bytes0, bytes1, widths, scale: np.float32, offsets, n_docs, ordinals, first, last,
    n_dims, query, initial, scales, query_starts, n_queries, scratch, scores, row_length,
):  # fmt: skip
    """scores[q, i] of documents first..last - 1 of `ordinals`, or of the segment if ordinals is 0.

    Returns how many scores of documents with tokens are not finite; -1, and reads no document, if an ordinal is
    not of 0..n_docs - 1.

    query_starts: (n_queries + 1,) int64, in vectors; scales: (n_vectors, 16) float32, 0 where no token is;
    scratch: aligned to 64 bytes, of scratch_bytes(n_dims, n_vectors); row_length: of scores.
    """
    n_vectors = read_i64(query_starts, n_queries)
    maxima, tile_widths = scratch, scratch + 64 * n_vectors
    rows = tile_widths + 64
    if ordinals:
        for i in range(first, last):
            if not 0 <= read_i64(ordinals, i) < n_docs:
                return -1
    n_wrong = 0
    for i in range(first, last):
        ordinal = read_i64(ordinals, i) if ordinals else i
        start, stop = read_i64(offsets, ordinal), read_i64(offsets, ordinal + 1)
        begin, end = 0, 0
        if i + 1 < last:
            following = read_i64(ordinals, i + 1) if ordinals else i + 1
            begin, end = read_i64(offsets, following), read_i64(offsets, following + 1)
            prefetch(widths + begin * 2, min((end - begin) * 2, _PREFETCH_BYTES))
        for lane in range(16 * n_vectors):
            write_f32(maxima, lane, np.float32(-np.inf))
        _document(
            layout, plane0, plane1, bytes0, bytes1, widths, scale, start, stop,
            n_dims, query, initial, n_vectors, rows, tile_widths, maxima,
            plane0 + begin * bytes0, plane1 + begin * bytes1, end - begin,
        )  # fmt: skip
        for q in range(n_queries):
            total = 0.0
            for lane in range(16 * read_i64(query_starts, q), 16 * read_i64(query_starts, q + 1)):
                total += np.float64(read_f32(maxima, lane)) * np.float64(read_f32(scales, lane))
            score = np.float32(total) if start < stop else np.float32(-np.inf)
            n_wrong += start < stop and not abs(score) < np.float32(np.inf)
            write_f32(scores, q * row_length + i, score)
    return n_wrong


@subroutine
def score_piece(
    layout, plane0, plane1, bytes0, bytes1, widths, scale, n_tokens,
    n_dims, query, initial, scales, n_vectors, scratch, next0, next1, next_widths, n_next,
):  # fmt: skip
    """MaxSim of the document whose tokens start at these addresses; -inf without tokens.

    next0, next1, next_widths: of the document that is scored next, of n_next tokens, which is asked for meanwhile.
    """
    prefetch(next_widths, min(n_next * 2, _PREFETCH_BYTES))
    maxima, tile_widths = scratch, scratch + 64 * n_vectors
    rows = tile_widths + 64
    for lane in range(16 * n_vectors):
        write_f32(maxima, lane, np.float32(-np.inf))
    _document(
        layout, plane0, plane1, bytes0, bytes1, widths, scale, 0, n_tokens,
        n_dims, query, initial, n_vectors, rows, tile_widths, maxima, next0, next1, n_next,
    )  # fmt: skip
    total = 0.0
    for lane in range(16 * n_vectors):
        total += np.float64(read_f32(maxima, lane)) * np.float64(read_f32(scales, lane))
    return np.float32(total) if n_tokens else np.float32(-np.inf)


def score_pieces(
    layout, planes0, planes1, bytes0, bytes1, widths, scale: np.float32, doclens, order, first, last,
    n_dims, query, initial, scales, n_vectors, scratch, scores,
):  # fmt: skip
    """scores[i] of documents order[first..last - 1], each with addresses of its own; for one query.

    planes0, planes1, widths: (n_docs,) int64, where the first token of each document lies; doclens likewise.
    """
    for i in range(first, last):
        document, following = read_i64(order, i), read_i64(order, min(i + 1, last - 1))
        score = score_piece(
            layout, read_i64(planes0, document), read_i64(planes1, document), bytes0, bytes1,
            read_i64(widths, document), scale, read_i64(doclens, document),
            n_dims, query, initial, scales, n_vectors, scratch,
            read_i64(planes0, following), read_i64(planes1, following), read_i64(widths, following),
            read_i64(doclens, following),
        )  # fmt: skip
        write_f32(scores, i, score)


def document_maxima(
    layout, plane0, plane1, bytes0, bytes1, widths, scale: np.float32, offsets, ordinals, first, last,
    n_dims, query, initial, scales, n_vectors, scratch, maxima, row_length,
):  # fmt: skip
    """maxima[i, t] of documents first..last - 1 and the query's tokens t < row_length, not yet summed.

    The arguments are those of `score_documents`; a document without tokens has -inf throughout.
    """
    found, tile_widths = scratch, scratch + 64 * n_vectors
    rows = tile_widths + 64
    for i in range(first, last):
        ordinal = read_i64(ordinals, i) if ordinals else i
        start, stop = read_i64(offsets, ordinal), read_i64(offsets, ordinal + 1)
        for lane in range(16 * n_vectors):
            write_f32(found, lane, np.float32(-np.inf))
        _document(
            layout, plane0, plane1, bytes0, bytes1, widths, scale, start, stop,
            n_dims, query, initial, n_vectors, rows, tile_widths, found, plane0, plane1, 0,
        )  # fmt: skip
        for token in range(row_length):
            value = read_f32(found, token)
            if start < stop:
                value *= read_f32(scales, token)
            write_f32(maxima, i * row_length + token, value)
