"""LLVM IR that puts a rotated tile, LANES tokens side by side in a vector, on a grid and packs its bits.

A dim of a tile is LANES float32, or LANES bytes of the integers on the grid.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from colsearch_kernels.compiled.emit import (
    F32,
    I8,
    V16F32,
    V16I32,
    Values,
    call,
    constant,
    emitted,
    load,
    number,
    repeat,
    splat,
    store,
    transposed,
)
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES

V16I8 = ir.VectorType(I8, LANES)


def _extents(builder: Any, tile: Any, n_dims: Any, out: Any) -> None:
    """For each lane: the largest |x|, the sum of squares, and 0, or NaN if an x is not finite."""

    def take_in(values: Values) -> Values:
        at, largest, squares, nothing = values
        x = load(builder, at, V16F32, 4)
        size = call(builder, "llvm.fabs.v16f32", V16F32, [x])
        # NaN loses every comparison, but x - x is 0 or NaN.
        larger = builder.fcmp_ordered(">", size, largest)
        return [
            builder.add(at, number(VECTOR_BYTES)),
            builder.select(larger, size, largest),
            builder.fadd(squares, builder.fmul(x, x)),
            builder.fadd(nothing, builder.fsub(x, x)),
        ]

    zeros = constant(V16F32, 0.0)
    _, *found = repeat(builder, n_dims, [tile, zeros, zeros, zeros], take_in)
    for i, value in enumerate(found):
        store(builder, value, builder.add(out, number(VECTOR_BYTES * i)), 4)


# Intrinsic (tile, n_dims, out): out is 3 x LANES float32.
extents = emitted(_extents)


def _clamped(builder: Any, value: Any, least: Any, most: Any) -> Any:
    """The value within least..most; `least` for NaN."""
    value = builder.select(builder.fcmp_ordered(">", value, least), value, least)
    return builder.select(builder.fcmp_ordered("<", value, most), value, most)


def _as_bytes(builder: Any, tile: Any, n_dims: Any, out: Any, integer: Callable[[Any], Any]) -> None:
    """Write `integer(x)`, a whole number that is still a float, of every dim: LANES bytes each."""

    def one_dim(values: Values) -> Values:
        at, to = values
        whole = integer(load(builder, at, V16F32, 4))
        store(builder, builder.trunc(builder.fptosi(whole, V16I32), V16I8), to)
        return [builder.add(at, number(VECTOR_BYTES)), builder.add(to, number(LANES))]

    repeat(builder, n_dims, [tile, out], one_dim)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def nearest(typing_context: Any, tile: Any, n_dims: Any, divisors: Any, limit: Any, out: Any) -> Any:
    """Signed bytes: the integer nearest to x / divisor, even on ties, within -limit..limit."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        tile, n_dims, divisors, limit, out = values
        divisor = load(builder, divisors, V16F32, 4)
        most, least = splat(builder, limit), splat(builder, builder.fneg(limit))

        def integer(x: Any) -> Any:
            nearest = call(builder, "llvm.rint.v16f32", V16F32, [builder.fdiv(x, divisor)])
            return _clamped(builder, nearest, least, most)

        _as_bytes(builder, tile, n_dims, out, integer)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.float32, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def cells(typing_context: Any, tile: Any, n_dims: Any, per_unit: Any, n_cells: Any, out: Any) -> Any:
    """Bytes: the number, 0 to n_cells - 1, of the cell that x * per_unit lies in; x = 0 is the middle of the grid."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        tile, n_dims, per_unit, n_cells, out = values
        scale = load(builder, per_unit, V16F32, 4)
        half = splat(builder, builder.fmul(n_cells, F32(0.5)))
        least, most = constant(V16F32, 0.0), splat(builder, builder.fsub(n_cells, F32(1.0)))

        def integer(x: Any) -> Any:
            lower_end = call(builder, "llvm.floor.v16f32", V16F32, [builder.fmul(x, scale)])
            return _clamped(builder, builder.fadd(lower_end, half), least, most)

        _as_bytes(builder, tile, n_dims, out, integer)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.float32, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def projections(
    typing_context: Any, tile: Any, n_dims: Any, integers: Any, shift: Any, middle: Any, out: Any
) -> Any:
    """LANES float32: sums of x * ((integer >> shift) - middle)."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        tile, n_dims, integers, shift, middle, out = values
        shifts = splat(builder, builder.trunc(shift, ir.IntType(32)))
        center = splat(builder, middle)

        def one_dim(values: Values) -> Values:
            at, codes, total = values
            integer = builder.lshr(builder.zext(load(builder, codes, V16I8), V16I32), shifts)
            value = builder.fsub(builder.uitofp(integer, V16F32), center)
            product = builder.fmul(value, load(builder, at, V16F32, 4))
            return [
                builder.add(at, number(VECTOR_BYTES)),
                builder.add(codes, number(LANES)),
                builder.fadd(total, product),
            ]

        *_, total = repeat(builder, n_dims, [tile, integers, constant(V16F32, 0.0)], one_dim)
        store(builder, total, out, 4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, types.float32, types.int64), codegen


def _pack(builder: Any, integers: Any, n_dims: Any, shift: Any, bits: Any, out: Any) -> None:
    """Pack one block of the layout in codes.py, lanes still side by side: n_dims * bits / 8 times LANES bytes."""

    def byte(value: Any) -> Any:
        return splat(builder, builder.trunc(value, I8))

    n_parts = builder.udiv(number(8), bits)
    mask = byte(builder.sub(builder.shl(number(1), bits), number(1)))
    down = byte(shift)
    n_words = builder.udiv(builder.mul(n_dims, bits), number(32))
    with cgutils.for_range(builder, n_words) as words:
        for j in range(4):
            first = builder.add(builder.mul(words.index, builder.mul(n_parts, number(4))), number(j))

            def take_in(values: Values) -> Values:
                at, up, packed = values
                part = builder.and_(builder.lshr(load(builder, at, V16I8), down), mask)
                part = builder.shl(part, byte(up))
                return [
                    builder.add(at, number(4 * LANES)),
                    builder.add(up, bits),
                    builder.or_(packed, part),
                ]

            start = builder.add(integers, builder.mul(first, number(LANES)))
            *_, packed = repeat(builder, n_parts, [start, number(0), constant(V16I8, 0)], take_in)
            to = builder.add(builder.mul(words.index, number(4 * LANES)), number(j * LANES))
            store(builder, packed, builder.add(out, to))


# Intrinsic (integers, n_dims, shift, bits, out).
pack = emitted(_pack)


def _to_rows(builder: Any, lanes: Any, n_blocks: Any, rows: Any, row_bytes: Any) -> None:
    """Copy the first LANES * n_blocks bytes of each lane into LANES rows."""
    with cgutils.for_range(builder, n_blocks) as blocks:
        at = builder.add(lanes, builder.mul(blocks.index, number(LANES * LANES)))
        vectors = [load(builder, builder.add(at, number(LANES * i)), V16I8) for i in range(LANES)]
        to = builder.add(rows, builder.mul(blocks.index, number(LANES)))
        for vector in transposed(builder, vectors):
            store(builder, vector, to)
            to = builder.add(to, row_bytes)


# Intrinsic (lanes, n_blocks, rows, row_bytes).
to_rows = emitted(_to_rows)
