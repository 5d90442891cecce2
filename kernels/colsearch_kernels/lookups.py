"""Inner products with product-quantized vectors, of a few scattered ones: sums of table entries.

Sixteen rows go side by side in the lanes of a vector, eight 4-bit codes of each, and a table of 16 entries is a
register that they permute. What is left over, and other instruction sets, go row by row; the sums
are added up in the same order, so that they are the same to the bit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from colsearch_kernels import emit
from colsearch_kernels.codes import F32, I64, U8, address
from colsearch_kernels.emit import (
    LANES,
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
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.jit import kernel
from colsearch_kernels.ordering import key_of, take_by_keys
from colsearch_kernels.scoring import checked_ordinals
from colsearch_kernels.tiers import tier

_IN_LANES = tier().name == "avx512"
_CODES_PER_WORD = 8
# Sums of a row, since each addition waits for the one before.
_SUMS = 4


class Lookups:
    """Rows of 4-bit codes in several arrays, numbered one array after another; 8 bytes of address a row.

    Args:
        parts: (n_rows, n_bytes) uint8 each, two codes a byte, the low half first; whole 32-bit words a row. Each
            row lies end to end; rows may lie apart, and in a memory map.
        centroids: (2 * n_bytes, 16, 2) float32, for each code and value the two numbers that it stands for.
    Raises: KernelInputError.
    """

    def __init__(self, parts: Sequence[U8], centroids: F32) -> None:
        widths = {part.shape[1] for part in parts if part.ndim == 2}
        if len(widths) != 1 or any(part.dtype != np.uint8 or part.ndim != 2 for part in parts):
            raise KernelInputError("codes must be 2-d uint8 arrays with rows of one length")
        self.n_bytes = widths.pop()
        if self.n_bytes % 4 or not self.n_bytes:
            raise KernelInputError(f"a row must be whole 32-bit words, not {self.n_bytes} bytes")
        if any(part.strides[1] != 1 for part in parts if len(part)):
            raise KernelInputError("the codes of a row must lie end to end")
        self.n_dims = 4 * self.n_bytes
        if centroids.dtype != np.float32 or centroids.shape != (2 * self.n_bytes, 16, 2):
            raise KernelInputError(
                f"centroids must be float32 ({2 * self.n_bytes}, 16, 2), not {centroids.dtype} {centroids.shape}"
            )
        # Keeps the memory of the addresses alive.
        self._parts = tuple(parts)
        self._addresses = np.concatenate(
            [address(part) + np.arange(len(part)) * part.strides[0] for part in parts]
        )
        # The first numbers of a code's 16 values side by side, then the second ones.
        self._centroids = np.array(centroids.transpose(0, 2, 1), order="C")

    def __len__(self) -> int:
        return len(self._addresses)

    def best_first(self, rows: I64, products: F32, query: F32) -> tuple[I64, F32]:
        """Rows by products with a query, of which a part is known: best first, of equals the first first.

        Args:
            rows: (n,) int64 numbers of rows.
            products: (n,) float32; the inner product of the query with what a row's codes stand for is added.
            query: (n_dims,) float32.
        Returns: (n,) int64 and (n,) float32, the same bits on every instruction set.
        Raises: KernelInputError.
        Source: Jégou et al. 2011, asymmetric distance computation.
        """
        rows = np.ascontiguousarray(checked_ordinals(rows, len(self)))
        n = len(rows)
        for name, array, shape in (("products", products, (n,)), ("query", query, (self.n_dims,))):
            if array.dtype != np.float32 or array.shape != shape or not array.flags.c_contiguous:
                raise KernelInputError(
                    f"{name} must be contiguous float32 {shape}, not {array.dtype} {array.shape}"
                )
        keys, found, sums = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.float32)
        tables = np.empty((2 * self.n_bytes, 16), np.float32)
        words = np.empty((self.n_bytes // 4, LANES), np.int32)
        _lookup(  # type: ignore[no-untyped-call]
            address(self._addresses), address(rows), n, self.n_bytes // 4, address(query),
            address(self._centroids), address(products), address(tables), address(words), address(found),
            address(sums), address(keys),
        )  # fmt: skip
        # NumPy sorts in lanes, which compiled loops do not.
        keys.sort()
        take_by_keys(address(keys), n, address(rows), address(found), address(sums))  # type: ignore[no-untyped-call]
        return found, sums


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


@njit(nogil=True, error_model="numpy")
def _fill_tables(query, centroids, n_codes, tables):  # type: ignore[no-untyped-def]
    """For each code and value, the product of what it stands for with the query's two dims."""
    for code in range(n_codes):
        first, second = read_f32(query, 2 * code), read_f32(query, 2 * code + 1)
        for value in range(16):
            at = 32 * code + value
            product = first * read_f32(centroids, at) + second * read_f32(centroids, at + 16)
            write_f32(tables, 16 * code + value, product)


@njit(nogil=True, error_model="numpy")
def _sum_up(addresses, n, n_words, tables, words, sums):  # type: ignore[no-untyped-def]
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


@kernel
def _lookup(  # type: ignore[no-untyped-def]
    all_addresses, rows, n, n_words, query, centroids, products, tables, words, addresses, sums, keys
):  # fmt: skip
    """keys[i] of the sum of products[i] and what the query gives with row number rows[i]; the rest is scratch."""
    _fill_tables(query, centroids, 8 * n_words, tables)
    for i in range(n):
        write_i64(addresses, i, read_i64(all_addresses, read_i64(rows, i)))
    _sum_up(addresses, n, n_words, tables, words, sums)
    for i in range(n):
        write_f32(sums, i, read_f32(sums, i) + read_f32(products, i))
        write_i64(keys, i, key_of(read_i32(sums, i), i))
