"""Softmax of long rows, the same bits on every machine: NumPy's exp depends on the instruction set."""

from typing import Any

import numpy as np
from numba import types

from colsearch_kernels.compiled import emit
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import Address, f32_row
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES

# exp(x) is computed as exp(x / 32) ** 32. An x below the lowest counts as the lowest.
_LOWEST = np.float32(-40.0)
_PART = np.float32(1 / 32)
_C6, _C5, _C4, _C3, _C2 = (np.float32(1 / n) for n in (720, 120, 24, 6, 2))


def _sum_in_lanes(builder: Any, address: Any, n: Any) -> Any:
    """The sum of n float32: LANES sums side by side, then these in order, so that every instruction set adds alike."""

    def add_vector(values: list[Any]) -> list[Any]:
        at, sums = values
        return [
            builder.add(at, emit.number(VECTOR_BYTES)),
            builder.fadd(sums, emit.load(builder, at, emit.V16F32, 4)),
        ]

    def add_one(values: list[Any]) -> list[Any]:
        at, lane, sums = values
        total = builder.fadd(builder.extract_element(sums, lane), emit.load(builder, at, emit.F32, 4))
        return [
            builder.add(at, emit.number(4)),
            builder.add(lane, emit.number(1)),
            builder.insert_element(sums, total, lane),
        ]

    n_vectors, n_left = (op(n, emit.number(LANES)) for op in (builder.udiv, builder.urem))
    zeros = emit.constant(emit.V16F32, 0.0)
    at, sums = emit.repeat(builder, n_vectors, [address, zeros], add_vector)
    *_, sums = emit.repeat(builder, n_left, [at, emit.number(0), sums], add_one)
    start = emit.constant(emit.F32, 0.0)
    return emit.call(builder, "llvm.vector.reduce.fadd.v16f32", emit.F32, [start, sums])


sum_in_lanes = emit.emitted(_sum_in_lanes, types.float32)


@subroutine
def softmax(
    row_at: Address, n: int, factor: np.float32, highest: np.float32, total: np.float32, out_at: Address
) -> None:
    """Write softmax of factor * row, to a few parts in a million, times `total`; (n,) float32 arrays.

    highest: no product is much larger, and the largest product is at most 40 smaller.
    """
    row, out = f32_row(row_at, n), f32_row(out_at, n)
    one = np.float32(1)
    for i in range(n):
        x = max(row[i] * factor - highest, _LOWEST) * _PART
        y = one + x * (one + x * (_C2 + x * (_C3 + x * (_C4 + x * (_C5 + x * _C6)))))
        y *= y
        y *= y
        y *= y
        y *= y
        out[i] = y * y
    scale = total / sum_in_lanes(out_at, n)
    for i in range(n):
        out[i] *= scale
