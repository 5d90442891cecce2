"""LLVM IR that turns rows of planes, or of other element types, into rows that a tile can read.

Code planes become one byte per dim, in the order of the dims. A 32-bit word holds 32 / bits dims. To write 64 of them
at once, each word is repeated 8 / bits times, and each copy is shifted by its own multiple of `bits`.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from colsearch_kernels.compiled.emit import (
    F16,
    F32,
    I8,
    I16,
    I32,
    constant,
    emitted,
    load,
    number,
    shuffle,
    splat,
    store,
)
from colsearch_kernels.layout.codes import block_bits
from colsearch_kernels.runtime.tiers import LANES

# Dims that are written at once.
_WIDEST = 64


def _expand(builder: Any, plane: Any, dim: Any, n_dims: int, bits: int) -> Any:
    """Dims dim..dim + n_dims - 1 of a plane that starts at an address, one byte each: a vector of 32-bit words."""
    n_words = n_dims * bits // 32
    at = builder.add(plane, builder.udiv(builder.mul(dim, number(bits)), number(8)))
    words = load(builder, at, ir.VectorType(I32, n_words))
    if bits == 8:
        return words
    copies = 8 // bits
    repeated = shuffle(builder, words, [word for word in range(n_words) for _ in range(copies)])
    shifts = ir.Constant(repeated.type, [bits * s for _ in range(n_words) for s in range(copies)])
    mask = constant(repeated.type, ((1 << bits) - 1) * 0x01010101)
    return builder.and_(builder.lshr(repeated, shifts), mask)


def code_row(plane_bits: tuple[int, ...]) -> Any:
    """Intrinsic (plane0, plane1, n_dims, out), all addresses but n_dims: one token's planes -> n_dims bytes."""
    blocks = [block_bits(bits) for bits in plane_bits]
    narrowest = min(min(block) for block in blocks)

    def values(builder: Any, planes: tuple[Any, Any], total: Any, dim: Any, n_dims: int) -> Any:
        result = None
        for plane, block in zip(planes, blocks):
            start = plane
            for bits in block:
                part = _expand(builder, start, dim, n_dims, bits)
                # The second block of a plane lies after the first.
                start = builder.add(start, builder.udiv(builder.mul(total, number(bits)), number(8)))
                if result is not None:
                    part = builder.or_(builder.shl(result, constant(part.type, bits)), part)
                result = part
        return result

    def generate(builder: Any, plane0: Any, plane1: Any, n_dims: Any, out: Any) -> None:
        def write(dim: Any, width: int) -> None:
            store(builder, values(builder, (plane0, plane1), n_dims, dim, width), builder.add(out, dim))

        _in_pieces(builder, n_dims, (_WIDEST, 32 // narrowest), write)

    return emitted(generate)


def _in_pieces(builder: Any, n: Any, widths: tuple[int, ...], write: Callable[[Any, int], None]) -> None:
    """Call `write(start, width)` for 0..n - 1 in pieces of the first width, and for the rest of the second."""
    start = number(0)
    for width in dict.fromkeys(widths):
        n_pieces = builder.udiv(builder.sub(n, start), number(width))
        with cgutils.for_range(builder, n_pieces) as pieces:
            write(builder.add(start, builder.mul(pieces.index, number(width))), width)
        start = builder.add(start, builder.mul(n_pieces, number(width)))


def _signed_row(builder: Any, row: Any, n_dims: Any, out: Any) -> None:
    def write(dim: Any, width: int) -> None:
        value = load(builder, builder.add(row, dim), ir.VectorType(I8, width))
        store(builder, builder.xor(value, constant(value.type, 128)), builder.add(out, dim))

    _in_pieces(builder, n_dims, (_WIDEST, 1), write)


# Intrinsic (row, n_dims, out): n_dims signed bytes -> the same plus 128, unsigned.
signed_row = emitted(_signed_row)


def _halves_as_floats(builder: Any, values: Any, hardware: bool) -> Any:
    """16-bit float16 patterns -> float32."""
    lanes = values.type.count
    if hardware:
        return builder.fpext(builder.bitcast(values, ir.VectorType(F16, lanes)), ir.VectorType(F32, lanes))
    wide, floats = ir.VectorType(I32, lanes), ir.VectorType(F32, lanes)
    bits = builder.zext(values, wide)
    magnitude = builder.and_(bits, constant(wide, 0x7FFF))
    # The biases of the exponents differ by 112. An exponent of all ones stays one; an exponent of zeros marks an
    # integer multiple of 2**-24.
    normal = builder.add(builder.shl(magnitude, constant(wide, 13)), constant(wide, 112 << 23))
    special = builder.icmp_unsigned(">=", magnitude, constant(wide, 0x7C00))
    normal = builder.select(special, builder.or_(normal, constant(wide, 0x7F800000)), normal)
    small = builder.fmul(builder.uitofp(magnitude, floats), constant(floats, 2.0**-24))
    is_small = builder.icmp_unsigned("<", magnitude, constant(wide, 0x400))
    normal = builder.select(is_small, builder.bitcast(small, wide), normal)
    sign = builder.shl(builder.and_(bits, constant(wide, 0x8000)), constant(wide, 16))
    return builder.bitcast(builder.or_(normal, sign), floats)


def _rounded(builder: Any, values: Any) -> Any:
    """float32 -> the nearest bfloat16 (even on ties), as 32-bit patterns with 16 low zeros; NaN stays NaN."""
    wide = ir.VectorType(I32, values.type.count)
    bits = builder.bitcast(values, wide)
    odd = builder.and_(builder.lshr(bits, constant(wide, 16)), constant(wide, 1))
    rounded = builder.add(bits, builder.add(odd, constant(wide, 0x7FFF)))
    nan = builder.fcmp_unordered("uno", values, values)
    rounded = builder.select(nan, constant(wide, 0x7FC00000), rounded)
    return builder.and_(rounded, constant(wide, 0xFFFF0000))


def half_reader(hardware: bool) -> Any:
    """Intrinsic (address, index) -> float32 of an element of a C array of float16."""

    def generate(builder: Any, address: Any, index: Any) -> Any:
        at = builder.add(address, builder.mul(index, number(2)))
        value = _halves_as_floats(builder, load(builder, at, ir.VectorType(I16, 1), 2), hardware)
        return builder.extract_element(value, I32(0))

    return emitted(generate, types.float32)


def scaled_widths(n: int, bits: int, hardware_halves: bool) -> Any:
    """Intrinsic (address, scale, out): n float16 or float32 -> n float32, multiplied with the float32 scale."""

    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def convert(typing_context: Any, address: Any, scale: Any, out: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            address, scale, out = values
            if bits == 16:
                halves = load(builder, address, ir.VectorType(I16, n), 2)
                floats = _halves_as_floats(builder, halves, hardware_halves)
            else:
                floats = load(builder, address, ir.VectorType(F32, n), 4)
            store(builder, builder.fmul(floats, splat(builder, scale, n)), out, 4)
            return context.get_dummy_value()

        return types.void(types.int64, types.float32, types.int64), codegen

    return convert


def float_row(source: str, rounding: str, hardware_halves: bool) -> Any:
    """Intrinsic (row, dim, out): `dim` numbers of the source type -> float32 or bfloat16.

    source: float32, float16 or bfloat16. rounding: "float32" keeps the number; "rounded" writes float32 that
    are bfloat16 numbers; "bfloat16" writes their 16 bits.
    """

    def generate(builder: Any, row: Any, dim: Any, out: Any) -> None:
        size = 4 if source == "float32" else 2

        def write(start: Any, lanes: int) -> None:
            at = builder.add(row, builder.mul(start, number(size)))
            floats = ir.VectorType(F32, lanes)
            if source == "float32":
                value = load(builder, at, floats)
            else:
                halves = load(builder, at, ir.VectorType(I16, lanes))
                if source == "float16":
                    value = _halves_as_floats(builder, halves, hardware_halves)
                else:
                    wide = ir.VectorType(I32, lanes)
                    value = builder.bitcast(
                        builder.shl(builder.zext(halves, wide), constant(wide, 16)), floats
                    )
            if rounding == "float32":
                store(builder, value, builder.add(out, builder.mul(start, number(4))))
                return
            bits = _rounded(builder, value)
            if rounding == "rounded":
                store(builder, bits, builder.add(out, builder.mul(start, number(4))))
                return
            top = builder.lshr(bits, constant(bits.type, 16))
            packed = builder.trunc(top, ir.VectorType(I16, lanes))
            store(builder, packed, builder.add(out, builder.mul(start, number(2))))

        _in_pieces(builder, dim, (LANES, 1), write)

    return emitted(generate)
