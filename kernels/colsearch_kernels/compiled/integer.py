"""The kernels over stored codes and int8 vectors: rows are unpacked a tile at a time, then scored as bytes.

Every tier computes the same integers and the same float32 products, so a score is the same number anywhere;
`reference.score_codes` is the slow and clear twin. Callers check the contents of arrays, see scoring/maxsim_codes.py.
"""

from typing import NamedTuple

import numpy as np

from colsearch_kernels.arguments import (
    BITS_1,
    BITS_2,
    BITS_2_6,
    BITS_4,
    BITS_4_4,
    BYTES,
    F32,
    I8,
    I64,
    SIGNED,
    U8,
    DocumentTable,
    PackedQueries,
    TokenFormat,
    TokenLayout,
)
from colsearch_kernels.compiled.arithmetic import Integer, document_bias, query_factor
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import (
    Address,
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
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES
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
# Prefetched of the next document while one is scored; the hardware prefetches the rest by itself.
_PREFETCH_BYTES = 8192


class _Document(NamedTuple):
    """One document: the addresses of its first token in both planes and of its first width."""

    plane0: Address
    plane1: Address
    widths: Address
    n_tokens: int


@subroutine
def document_of_segment(segment: TokenLayout, ordinal: int) -> _Document:
    first = read_i64(segment.offsets, ordinal)
    width_bytes = 4 if segment.format.kind == SIGNED else 2
    return _Document(
        segment.plane0 + first * segment.format.row_bytes0,
        segment.plane1 + first * segment.format.row_bytes1,
        segment.widths + first * width_bytes,
        read_i64(segment.offsets, ordinal + 1) - first,
    )


@subroutine
def _no_document(document: _Document) -> _Document:
    """A document without tokens, for where no other document follows."""
    return _Document(document.plane0, document.plane1, document.widths, 0)


@subroutine
def document_of_table(table: DocumentTable, row: int) -> _Document:
    return _Document(
        read_i64(table.planes0, row),
        read_i64(table.planes1, row),
        read_i64(table.widths, row),
        read_i64(table.doclens, row),
    )


@subroutine
def _unpack(
    token_format: TokenFormat, plane0: Address, plane1: Address, n_present: int, n_rows: int, out: Address
) -> None:
    """Unpack rows from these addresses on to one byte a dim; if fewer are present, repeat the last one."""
    kind, n_dims = token_format.kind, token_format.n_dims
    bytes0, bytes1 = token_format.row_bytes0, token_format.row_bytes1
    # Rows of whole planes lie end to end, as they do in `out`: one long run of dims.
    if kind == BITS_4:
        _row_4(plane0, plane1, n_present * n_dims, out)
    elif kind == BITS_4_4:
        _row_4_4(plane0, plane1, n_present * n_dims, out)
    elif kind == BITS_2:
        _row_2(plane0, plane1, n_present * n_dims, out)
    elif kind == BITS_1:
        _row_1(plane0, plane1, n_present * n_dims, out)
    elif kind == BYTES:
        _row_8(plane0, plane1, n_present * n_dims, out)
    elif kind == SIGNED and bytes0 == n_dims:
        signed_row(plane0, n_present * n_dims, out)
    else:
        for i in range(n_present):
            if kind == BITS_2_6:
                _row_2_6(plane0 + i * bytes0, plane1 + i * bytes1, n_dims, out + i * n_dims)
            else:
                # A row of signed bytes may end within a word; the query's dims there are 0.
                signed_row(plane0 + i * bytes0, bytes0, out + i * n_dims)
    for word in range(n_present * n_dims // 4, n_rows * n_dims // 4):
        write_i32(out, word, read_i32(out, word - n_dims // 4))


@subroutine
def _read_widths(
    token_format: TokenFormat, widths: Address, n_present: int, n_rows: int, small: bool, out: Address
) -> None:
    """The scaled widths of a tile's rows as float32; if fewer rows are present, the last one is repeated."""
    signed, scale = token_format.kind == SIGNED, token_format.scale
    if n_present < n_rows:
        for i in range(n_rows):
            token = min(i, n_present - 1)
            width = read_f32(widths, token) if signed else read_f16(widths, token)
            write_f32(out, i, width * scale)
    elif signed:
        if small:
            _small_scales(widths, scale, out)
        else:
            _large_scales(widths, scale, out)
    elif small:
        _small_widths(widths, scale, out)
    else:
        _large_widths(widths, scale, out)


@subroutine
def _run_tiles(
    queries: PackedQueries, n_dims: int, rows: Address, widths: Address, small: bool, maxima: Address
) -> None:
    """One tile of document rows against all vectors of query tokens."""
    v = 0
    while v < queries.n_vectors:
        at = queries.memory + v * LANES * n_dims
        initial, maxima_at = queries.memory + queries.initial + VECTOR_BYTES * v, maxima + VECTOR_BYTES * v
        if v + VECTORS <= queries.n_vectors:
            if small:
                _small(rows, n_dims, n_dims // 4, at, initial, widths, maxima_at)
            else:
                _large(rows, n_dims, n_dims // 4, at, initial, widths, maxima_at)
            v += VECTORS
        else:
            if small:
                _small_one(rows, n_dims, n_dims // 4, at, initial, widths, maxima_at)
            else:
                _large_one(rows, n_dims, n_dims // 4, at, initial, widths, maxima_at)
            v += 1


@subroutine
def _find_maxima(
    token_format: TokenFormat,
    document: _Document,
    following: _Document,
    queries: PackedQueries,
    scratch: Address,
) -> None:
    """Write each query token's best similarity to the start of `scratch`, (n_vectors, LANES) float32.

    following: the document that is scored next, or one without tokens. It is prefetched meanwhile, with each tile as
    many of its tokens as the tile has.
    """
    bytes0, bytes1, n_dims = token_format.row_bytes0, token_format.row_bytes1, token_format.n_dims
    prefetch(following.widths, min(following.n_tokens * 2, _PREFETCH_BYTES))
    maxima, tile_widths = scratch, scratch + VECTOR_BYTES * queries.n_vectors
    unpacked = tile_widths + VECTOR_BYTES
    for lane in range(LANES * queries.n_vectors):
        write_f32(maxima, lane, np.float32(-np.inf))
    n_next = min(following.n_tokens, _PREFETCH_BYTES // bytes0)
    n_prefetched = 0
    # With one vector of query tokens, a small tile waits for its own sums most of the time.
    few = SMALL if queries.n_vectors == 1 else TILE - SMALL
    first = 0
    while first < document.n_tokens:
        n_left = document.n_tokens - first
        small = n_left <= few
        n_rows = SMALL if small else TILE
        # Scoring some tokens of the tile before once more changes no maximum.
        begin = max(0, min(first, document.n_tokens - n_rows))
        n_present = min(n_rows, document.n_tokens - begin)
        n_more = min(n_rows if n_left > n_rows else n_next, n_next - n_prefetched)
        prefetch(following.plane0 + n_prefetched * bytes0, n_more * bytes0)
        prefetch(following.plane1 + n_prefetched * bytes1, n_more * bytes1)
        n_prefetched += n_more
        plane0, plane1 = document.plane0 + begin * bytes0, document.plane1 + begin * bytes1
        # Bytes need no unpacking, unless the tile would read beyond the document.
        if token_format.kind == BYTES and n_present == n_rows:
            rows = plane0
        else:
            _unpack(token_format, plane0, plane1, n_present, n_rows, unpacked)
            rows = unpacked
        width_bytes = 4 if token_format.kind == SIGNED else 2
        widths = document.widths + width_bytes * begin
        _read_widths(token_format, widths, n_present, n_rows, small, tile_widths)
        _run_tiles(queries, n_dims, rows, tile_widths, small, maxima)
        first += n_rows


@subroutine
def _weighted_sum(queries: PackedQueries, maxima: Address, first_vector: int, end_vector: int) -> np.float32:
    """The sum of maxima times scales in the order of the query tokens, rounded once."""
    scales = queries.memory + queries.scales
    total = 0.0
    for lane in range(LANES * first_vector, LANES * end_vector):
        total += np.float64(read_f32(maxima, lane)) * np.float64(read_f32(scales, lane))
    return np.float32(total)


@subroutine
def score_document(
    token_format: TokenFormat,
    document: _Document,
    following: _Document,
    queries: PackedQueries,
    scratch: Address,
) -> np.float32:
    """MaxSim of one document with the one query there is; -inf without tokens.

    following: as `_find_maxima` takes it.
    """
    _find_maxima(token_format, document, following, queries, scratch)
    total = _weighted_sum(queries, scratch, 0, queries.n_vectors)
    return total if document.n_tokens else np.float32(-np.inf)


def pack_query(
    values: I8,
    token_scales: F32,
    n_query_tokens: int,
    token_format: TokenFormat,
    queries: PackedQueries,
    number: int,
    first_vector: int,
) -> int:
    """Lay query `number` into lanes, from `first_vector` on; returns the vector where the next query starts.

    values: (n_query_tokens, n_dims) int8; token_scales: (n_query_tokens,) float32. The initial sums are minus
    `center` times the sum of a token's values.
    """
    n_dims, n_vectors = token_format.n_dims, queries.n_vectors
    initial, scales = queries.memory + queries.initial, queries.memory + queries.scales
    n_words = n_dims // 4
    next_vector = first_vector - n_query_tokens // -LANES
    for i in range(LANES * (next_vector - first_vector)):
        v = first_vector + i // LANES
        # With an odd number of vectors the last one is laid out by itself.
        group = VECTORS if v // VECTORS * VECTORS + VECTORS <= n_vectors else 1
        to = queries.memory + v // group * group * LANES * n_dims + (v % group) * VECTOR_BYTES + i % LANES * 4
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
            write_i32(to + word * VECTOR_BYTES * group, 0, np.int32(value))
        bias = 2 * DOCUMENT_BIAS - token_format.center
        write_i32(initial, LANES * first_vector + i, np.int32(total * bias))
        write_f32(scales, LANES * first_vector + i, read_f32(token_scales, i) if present else np.float32(0))
    write_i64(queries.memory + queries.starts, number, first_vector)
    write_i64(queries.memory + queries.starts, number + 1, next_vector)
    return next_vector


@subroutine
def _scratch(queries: PackedQueries, scratch: Address) -> Address:
    """The memory that is given, or else the queries' own."""
    return scratch if scratch else queries.memory + queries.scratch


@subroutine
def _ordinal(ordinals: Address, i: int) -> int:
    return read_i64(ordinals, i) if ordinals else i


def score_documents(
    segment: TokenLayout,
    ordinals: I64 | None,
    first: int,
    last: int,
    queries: PackedQueries,
    scratch: U8 | None,
    scores: F32,
    row_length: int,
) -> int:
    """scores[q, i] of documents first..last - 1 of `ordinals`, or of the segment if ordinals is None.

    Returns: how many scores of documents with tokens are not finite; -1, with no document read, if an ordinal is
        not within 0..n_docs - 1.

    scratch: of `packing.scratch_bytes`; None uses the queries' own. scores: (n_queries, row_length) float32.
    """
    maxima = _scratch(queries, scratch)
    if ordinals:
        for i in range(first, last):
            if not 0 <= read_i64(ordinals, i) < segment.n_docs:
                return -1
    starts = queries.memory + queries.starts
    n_wrong = 0
    for i in range(first, last):
        document = document_of_segment(segment, _ordinal(ordinals, i))
        following = _no_document(document)
        if i + 1 < last:
            following = document_of_segment(segment, _ordinal(ordinals, i + 1))
        _find_maxima(segment.format, document, following, queries, maxima)
        for q in range(queries.n_queries):
            total = _weighted_sum(queries, maxima, read_i64(starts, q), read_i64(starts, q + 1))
            score = total if document.n_tokens else np.float32(-np.inf)
            n_wrong += document.n_tokens > 0 and not abs(score) < np.float32(np.inf)
            write_f32(scores, q * row_length + i, score)
    return n_wrong


def score_scattered(
    table: DocumentTable, rows: I64, first: int, last: int, queries: PackedQueries, scratch: U8, scores: F32
) -> None:
    """scores[i] of documents rows[first..last - 1], for one query."""
    for i in range(first, last):
        document = document_of_table(table, read_i64(rows, i))
        following = document_of_table(table, read_i64(rows, min(i + 1, last - 1)))
        write_f32(scores, i, score_document(table.format, document, following, queries, scratch))


def document_maxima(
    segment: TokenLayout,
    ordinals: I64 | None,
    first: int,
    last: int,
    queries: PackedQueries,
    scratch: U8,
    maxima: F32,
    row_length: int,
) -> None:
    """maxima[i, t] of documents first..last - 1 and the query's tokens t < row_length, not yet summed.

    The arguments are those of `score_documents`; a document without tokens has -inf throughout.
    """
    scales = queries.memory + queries.scales
    for i in range(first, last):
        document = document_of_segment(segment, _ordinal(ordinals, i))
        _find_maxima(segment.format, document, _no_document(document), queries, scratch)
        for token in range(row_length):
            value = read_f32(scratch, token)
            if document.n_tokens:
                value *= read_f32(scales, token)
            write_f32(maxima, i * row_length + token, value)
