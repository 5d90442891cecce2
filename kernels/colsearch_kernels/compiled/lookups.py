"""Inner products with product-quantized vectors: sums of table entries.

Sixteen rows go side by side in the lanes of a vector, eight 4-bit codes of each, and a table of 16 entries is a
register that they permute. What is left over, and other instruction sets, go row by row; the sums
are added up in the same order, so that they are the same to the bit.
"""

from typing import Any

import numpy as np

from colsearch_kernels.compiled import emit
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import (
    V16F32,
    V16I32,
    number,
    read_f32,
    read_i32,
    read_i64,
    read_u8,
    write_f32,
    write_i64,
)
from colsearch_kernels.compiled.ordering import key_of
from colsearch_kernels.runtime.tiers import LANES, tier

_IN_LANES = tier().name == "avx512"
_CODES_PER_WORD = 8
# Sums of a row, since each addition waits for the one before.
_SUMS = 4


def _sums_of_lanes(
    builder: Any, rows: Any, ahead: Any, n_words: Any, tables: Any, words: Any, sums: Any
) -> None:
    """Of the 16 rows whose addresses are at the address `rows`, to the address `sums`.

    ahead: address of 16 addresses of rows that come next: a line of them is asked for with each word.
    words: address of n_words x 16 dwords, where the rows are laid side by side first. (Gathering them takes twice
    the time of all the rest, on processors whose gathers were slowed down for safety.)
    """
    starts = [emit.load(builder, builder.add(rows, number(8 * i)), emit.I64, 8) for i in range(LANES)]

    emit.lay_side_by_side(builder, starts, n_words, words, number(4 * LANES))

    def look_up_a_word(values: list[Any]) -> list[Any]:
        at, table, word, *totals = values
        row = builder.add(ahead, builder.mul(builder.and_(word, number(LANES - 1)), number(8)))
        line = builder.mul(builder.lshr(word, number(4)), number(64))
        emit.prefetch_line(builder, builder.add(emit.load(builder, row, emit.I64, 8), line))
        packed = emit.load(builder, at, V16I32, 4)
        for i in range(_CODES_PER_WORD):
            # Only the low four bits of an index count.
            index = builder.lshr(packed, emit.constant(V16I32, 4 * i))
            entries = emit.load(builder, builder.add(table, number(64 * i)), V16F32, 4)
            named = emit.call(builder, "llvm.x86.avx512.permvar.sf.512", V16F32, [entries, index])
            totals[i % _SUMS] = builder.fadd(totals[i % _SUMS], named)
        return [
            builder.add(at, number(4 * LANES)), builder.add(table, number(64 * _CODES_PER_WORD)),
            builder.add(word, number(1)), *totals,
        ]  # fmt: skip

    initial = [words, tables, number(0), *[emit.constant(V16F32, 0.0)] * _SUMS]
    _, _, _, s0, s1, s2, s3 = emit.repeat(builder, n_words, initial, look_up_a_word)
    emit.store(builder, builder.fadd(builder.fadd(s0, s1), builder.fadd(s2, s3)), sums, 4)


def _nothing(builder: Any, rows: Any, ahead: Any, n_words: Any, tables: Any, words: Any, sums: Any) -> None:
    """Where there are no such lanes: compiled, and never run."""


_lanes = emit.emitted(_sums_of_lanes if _IN_LANES else _nothing)


@subroutine
def _sum_up(addresses, n, n_words, tables, words, sums):
    """sums[i] of what the codes at addresses[i] name in the tables."""
    n_bytes = 4 * n_words
    n_in_lanes = n // 16 * 16 if _IN_LANES else 0
    for i in range(0, n_in_lanes, 16):
        ahead = i + 16 if i + 32 <= n else i
        _lanes(addresses + 8 * i, addresses + 8 * ahead, n_words, tables, words, sums + 4 * i)
    for i in range(n_in_lanes, n):
        at = read_i64(addresses, i)
        s0 = s1 = s2 = s3 = np.float32(0)
        for b in range(0, n_bytes, 2):
            first, second = np.int64(read_u8(at, b)), np.int64(read_u8(at, b + 1))
            s0 += read_f32(tables, 32 * b + (first & 15))
            s1 += read_f32(tables, 32 * b + 16 + (first >> 4))
            s2 += read_f32(tables, 32 * b + 32 + (second & 15))
            s3 += read_f32(tables, 32 * b + 48 + (second >> 4))
        write_f32(sums, i, (s0 + s1) + (s2 + s3))


def fill_tables(query, centroids, n_codes, n_dims, tables):
    """For each code and value, the product of what it stands for with the query's n_dims dims of that code."""
    for code in range(n_codes):
        table, first = 16 * code, n_dims * code
        of_query = read_f32(query, first)
        for value in range(16):
            write_f32(tables, table + value, of_query * read_f32(centroids, 16 * first + value))
        for dim in range(first + 1, first + n_dims):
            of_query = read_f32(query, dim)
            for value in range(16):
                product = of_query * read_f32(centroids, 16 * dim + value)
                write_f32(tables, table + value, read_f32(tables, table + value) + product)


def look_up(all_addresses, rows, n, n_words, products, tables, words, addresses, sums, keys):
    """keys[i] of the sum of products[i] and what row number rows[i] names in the tables; the rest is scratch."""
    for i in range(n):
        write_i64(addresses, i, read_i64(all_addresses, read_i64(rows, i)))
    _sum_up(addresses, n, n_words, tables, words, sums)
    for i in range(n):
        write_f32(sums, i, read_f32(sums, i) + read_f32(products, i))
        write_i64(keys, i, key_of(read_i32(sums, i), i))
