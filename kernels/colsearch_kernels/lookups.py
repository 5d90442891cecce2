"""Inner products with product-quantized vectors, of a few scattered ones: sums of table entries.

Sixteen rows go side by side in the lanes of a vector: one gather fetches eight 4-bit codes of each, and a table of
16 entries is a register that they permute. What is left over, and other instruction sets, go row by row; the sums
are added up in the same order, so that they are the same to the bit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from colsearch_kernels import emit
from colsearch_kernels.codes import F32, I64, U8, address
from colsearch_kernels.emit import (
    LANES,
    V16F32,
    V16I32,
    number,
    prefetch,
    read_f32,
    read_i64,
    read_u8,
    write_f32,
)
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.jit import kernel
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
    Raises: KernelInputError.
    """

    def __init__(self, parts: Sequence[U8]) -> None:
        widths = {part.shape[1] for part in parts if part.ndim == 2}
        if len(widths) != 1 or any(part.dtype != np.uint8 or part.ndim != 2 for part in parts):
            raise KernelInputError("codes must be 2-d uint8 arrays with rows of one length")
        self.n_bytes = widths.pop()
        if self.n_bytes % 4 or not self.n_bytes:
            raise KernelInputError(f"a row must be whole 32-bit words, not {self.n_bytes} bytes")
        if any(part.strides[1] != 1 for part in parts if len(part)):
            raise KernelInputError("the codes of a row must lie end to end")
        # Keeps the memory of the addresses alive.
        self._parts = tuple(parts)
        self._addresses = np.concatenate(
            [address(part) + np.arange(len(part)) * part.strides[0] for part in parts]
        )

    def __len__(self) -> int:
        return len(self._addresses)

    def sums(self, rows: I64, tables: F32) -> F32:
        """For each row, the sum of the entries that its codes name, one from each table.

        Args:
            rows: (m,) int64 numbers of rows.
            tables: (2 * n_bytes, 16) float32.
        Returns: (m,) float32, the same to the bit on every instruction set.
        Raises: KernelInputError.
        Source: Jégou et al. 2011, asymmetric distance computation.
        """
        addresses = self._addresses[checked_ordinals(rows, len(self))]
        if tables.dtype != np.float32 or tables.shape != (2 * self.n_bytes, 16):
            raise KernelInputError(
                f"tables must be float32 ({2 * self.n_bytes}, 16), not {tables.dtype} {tables.shape}"
            )
        tables = np.ascontiguousarray(tables)
        sums = np.empty(len(addresses), np.float32)
        _lookup_sums(  # type: ignore[no-untyped-call]
            address(addresses), len(addresses), self.n_bytes // 4, address(tables), address(sums)
        )
        return sums


def _sums_of_lanes(builder: Any, rows: Any, n_words: Any, tables: Any, sums: Any) -> None:
    """Of the 16 rows whose addresses are at the address `rows`, to the address `sums`."""
    half = ir.VectorType(emit.I64, LANES // 2)
    starts = [emit.load(builder, builder.add(rows, number(8 * i)), half, 8) for i in (0, LANES // 2)]
    eight, everywhere = ir.VectorType(emit.I32, LANES // 2), ir.VectorType(ir.IntType(1), LANES // 2)

    def look_up_a_word(values: list[Any]) -> list[Any]:
        offset, table, *totals = values
        at = builder.inttoptr(offset, emit.I8.as_pointer())
        packed = emit.joined(
            builder,
            [
                emit.call(
                    builder, "llvm.x86.avx512.mask.gather.qpi.512", eight,
                    [emit.constant(eight, 0), at, start, emit.constant(everywhere, 1), ir.Constant(emit.I32, 1)],
                )
                for start in starts
            ],
        )  # fmt: skip
        for i in range(_CODES_PER_WORD):
            # Only the low four bits of an index count.
            index = builder.lshr(packed, emit.constant(V16I32, 4 * i))
            entries = emit.load(builder, builder.add(table, number(64 * i)), V16F32, 4)
            named = emit.call(builder, "llvm.x86.avx512.permvar.sf.512", V16F32, [entries, index])
            totals[i % _SUMS] = builder.fadd(totals[i % _SUMS], named)
        return [
            builder.add(offset, number(4)), builder.add(table, number(64 * _CODES_PER_WORD)), *totals
        ]  # fmt: skip

    initial = [number(0), tables, *[emit.constant(V16F32, 0.0)] * _SUMS]
    _, _, s0, s1, s2, s3 = emit.repeat(builder, n_words, initial, look_up_a_word)
    emit.store(builder, builder.fadd(builder.fadd(s0, s1), builder.fadd(s2, s3)), sums, 4)


def _nothing(builder: Any, rows: Any, n_words: Any, tables: Any, sums: Any) -> None:
    """Where there are no such lanes: compiled, and never run."""


_lanes = emit.emitted(_sums_of_lanes if _IN_LANES else _nothing)


@kernel
def _lookup_sums(rows, n, n_words, tables, sums):  # type: ignore[no-untyped-def]
    """sums[i] of the rows whose addresses are at `rows`."""
    n_bytes = 4 * n_words
    n_in_lanes = n // 16 * 16 if _IN_LANES else 0
    for i in range(0, n_in_lanes, 16):
        for ahead in range(i + 16, min(i + 32, n)):
            prefetch(read_i64(rows, ahead), n_bytes)
        _lanes(rows + 8 * i, n_words, tables, sums + 4 * i)
    for i in range(n_in_lanes, n):
        at = read_i64(rows, i)
        s0 = s1 = s2 = s3 = np.float32(0)
        for b in range(0, n_bytes, 2):
            first, second = np.int64(read_u8(at, b)), np.int64(read_u8(at, b + 1))
            s0 += read_f32(tables, 32 * b + (first & 15))
            s1 += read_f32(tables, 32 * b + 16 + (first >> 4))
            s2 += read_f32(tables, 32 * b + 32 + (second & 15))
            s3 += read_f32(tables, 32 * b + 48 + (second >> 4))
        write_f32(sums, i, (s0 + s1) + (s2 + s3))
