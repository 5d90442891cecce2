"""Inner products with product-quantized vectors: sums of table entries.

With AVX-512, LANES rows go side by side in the lanes of a vector, a 32-bit word of each at a time, and the table of a
code is a register whose entries the codes select. The rows left over, and all rows on other instruction sets, go one by
one. Both add the sums up in the same order, so that they are the same to the bit.
"""

from typing import Any

import numpy as np

from colsearch_kernels.arguments import CENTROIDS_PER_CODE, F32, I64, CodeTable
from colsearch_kernels.compiled import emit
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import (
    V16F32,
    V16I32,
    Address,
    number,
    read_f32,
    read_i32,
    read_i64,
    read_u8,
    write_f32,
    write_i64,
)
from colsearch_kernels.compiled.ordering import key_of
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES, tier

_IN_LANES = tier().name == "avx512"
_CODES_PER_WORD = 8
# The products of one code's centroids, in float32.
_TABLE_BYTES = 4 * CENTROIDS_PER_CODE
# Sums of a row: each addition waits for the one before, so that several run side by side.
_SUMS = 4


def _sums_of_lanes(
    builder: Any, rows: Any, ahead: Any, n_words: Any, tables: Any, words: Any, sums: Any
) -> None:
    """Write the sums of LANES rows, whose addresses are at the address `rows`, to the address `sums`.

    ahead: address of LANES addresses of rows that come next; each word prefetches one line of one of them.
    words: address of n_words x LANES 32-bit words, where the rows are first laid side by side. (Gather instructions
    take twice the time of all the rest on processors whose gathers were slowed down for safety.)
    """
    starts = [emit.load(builder, builder.add(rows, number(8 * i)), emit.I64, 8) for i in range(LANES)]

    emit.lay_side_by_side(builder, starts, n_words, words, number(VECTOR_BYTES))

    def look_up_a_word(values: list[Any]) -> list[Any]:
        at, table, word, *totals = values
        row = builder.add(ahead, builder.mul(builder.and_(word, number(LANES - 1)), number(8)))
        line = builder.mul(builder.udiv(word, number(LANES)), number(emit.LINE_BYTES))
        emit.prefetch_line(builder, builder.add(emit.load(builder, row, emit.I64, 8), line))
        packed = emit.load(builder, at, V16I32, 4)
        for i in range(_CODES_PER_WORD):
            # Only the low four bits of an index count.
            index = builder.lshr(packed, emit.constant(V16I32, 4 * i))
            entries = emit.load(builder, builder.add(table, number(_TABLE_BYTES * i)), V16F32, 4)
            selected = emit.call(builder, "llvm.x86.avx512.permvar.sf.512", V16F32, [entries, index])
            totals[i % _SUMS] = builder.fadd(totals[i % _SUMS], selected)
        return [
            builder.add(at, number(VECTOR_BYTES)), builder.add(table, number(_TABLE_BYTES * _CODES_PER_WORD)),
            builder.add(word, number(1)), *totals,
        ]  # fmt: skip

    initial = [words, tables, number(0), *[emit.constant(V16F32, 0.0)] * _SUMS]
    _, _, _, s0, s1, s2, s3 = emit.repeat(builder, n_words, initial, look_up_a_word)
    emit.store(builder, builder.fadd(builder.fadd(s0, s1), builder.fadd(s2, s3)), sums, 4)


def _nothing(builder: Any, rows: Any, ahead: Any, n_words: Any, tables: Any, words: Any, sums: Any) -> None:
    """Stands in for `_sums_of_lanes` on other instruction sets: compiled, but never run."""


_lanes = emit.emitted(_sums_of_lanes if _IN_LANES else _nothing)


@subroutine
def _sum_up(addresses: Address, n: int, n_words: int, tables: Address, words: Address, sums: Address) -> None:
    """sums[i] of the table entries that the codes at addresses[i] name; words: scratch, (n_words, LANES) int32."""
    n_bytes = 4 * n_words
    n_in_lanes = n // LANES * LANES if _IN_LANES else 0
    for i in range(0, n_in_lanes, LANES):
        ahead = i + LANES if i + 2 * LANES <= n else i
        _lanes(addresses + 8 * i, addresses + 8 * ahead, n_words, tables, words, sums + 4 * i)
    for i in range(n_in_lanes, n):
        at = read_i64(addresses, i)
        s0 = s1 = s2 = s3 = np.float32(0)
        # Two bytes at a time are four codes: so many tables further each.
        for b in range(0, n_bytes, 2):
            first, second = np.int64(read_u8(at, b)), np.int64(read_u8(at, b + 1))
            table = tables + 2 * b * _TABLE_BYTES
            s0 += read_f32(table, first & 15)
            s1 += read_f32(table + _TABLE_BYTES, first >> 4)
            s2 += read_f32(table + 2 * _TABLE_BYTES, second & 15)
            s3 += read_f32(table + 3 * _TABLE_BYTES, second >> 4)
        write_f32(sums, i, (s0 + s1) + (s2 + s3))


@subroutine
def _fill_tables(
    query: Address, centroids: Address, n_codes: int, dims_per_code: int, tables: Address
) -> None:
    """For each code and value, the product of its centroid with the query's dims of that code."""
    for code in range(n_codes):
        table, first = CENTROIDS_PER_CODE * code, dims_per_code * code
        of_query = read_f32(query, first)
        for value in range(CENTROIDS_PER_CODE):
            centroid = read_f32(centroids, CENTROIDS_PER_CODE * first + value)
            write_f32(tables, table + value, of_query * centroid)
        for dim in range(first + 1, first + dims_per_code):
            of_query = read_f32(query, dim)
            for value in range(CENTROIDS_PER_CODE):
                product = of_query * read_f32(centroids, CENTROIDS_PER_CODE * dim + value)
                write_f32(tables, table + value, read_f32(tables, table + value) + product)


def look_up(codes: CodeTable, query: F32, rows: I64, n: int, products: F32, scratch: I64, keys: I64) -> int:
    """keys[i] of the sum of products[i] and the query's product with row number rows[i]; see compiled/ordering.py.

    Returns: 0 if a row is not within 0..n_rows - 1, else 1.

    query: (n_dims,) float32; rows, products, keys: (n,) each; scratch: see `prefilter/lookups.py:_scratch_bytes`.
    """
    addresses = scratch
    sums = addresses + 8 * n
    words = sums + 4 * n
    tables = words + VECTOR_BYTES * codes.n_words
    for i in range(n):
        row = read_i64(rows, i)
        if not 0 <= row < codes.n_rows:
            return 0
        write_i64(addresses, i, read_i64(codes.addresses, row))
    dims, centroids, table = query, codes.centroids, tables
    for group in range(codes.n_groups):
        n_codes, dims_per_code = read_i64(codes.groups, 2 * group), read_i64(codes.groups, 2 * group + 1)
        _fill_tables(dims, centroids, n_codes, dims_per_code, table)
        dims += 4 * n_codes * dims_per_code
        centroids += _TABLE_BYTES * n_codes * dims_per_code
        table += _TABLE_BYTES * n_codes
    _sum_up(addresses, n, codes.n_words, tables, words, sums)
    for i in range(n):
        write_f32(sums, i, read_f32(sums, i) + read_f32(products, i))
        write_i64(keys, i, key_of(read_i32(sums, i), i))
    return 1
