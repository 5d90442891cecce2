"""LLVM IR for the inner loops: query tokens in the SIMD lanes, document values broadcast, max fused.

One tile is TILE document tokens against VECTORS x 16 query tokens. Its accumulators stay in registers over
all dims, and no score matrix is ever written: what leaves the tile is 16 running maxima per vector.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
V16I32, V16F32 = ir.VectorType(I32, LANES), ir.VectorType(F32, LANES)

Values = list[Any]


def splat(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    """The scalar in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def load(builder: Any, base: Any, offset: Any, type_: Any, align: int) -> Any:
    """A value at base + offset bytes."""
    pointer = builder.inttoptr(builder.add(base, offset), type_.as_pointer())
    return builder.load(pointer, align=align)


def store(builder: Any, value: Any, base: Any, offset: Any, align: int) -> None:
    """Write a value at base + offset bytes."""
    builder.store(value, builder.inttoptr(builder.add(base, offset), value.type.as_pointer()), align=align)


def call(builder: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    """Call an LLVM intrinsic by name."""
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)


def number(value: int) -> Any:
    return ir.Constant(I64, value)


def dot_step(builder: Any, tier: str, acc: Any, document: Any, query: Any) -> Any:
    """acc + the products of 4 document bytes (u8, one i32) with 4 bytes (s8) of each of 16 query tokens."""
    if tier == "avx512":
        return call(builder, "llvm.x86.avx512.vpdpbusd.512", V16I32, [acc, splat(builder, document), query])
    if tier == "avx2":
        return _dot_step_avx2(builder, acc, document, query)
    for byte in range(4):
        d = builder.and_(builder.lshr(document, ir.Constant(I32, 8 * byte)), ir.Constant(I32, 255))
        left = ir.Constant(V16I32, [24 - 8 * byte] * LANES)
        q = builder.ashr(builder.shl(query, left), ir.Constant(V16I32, [24] * LANES))
        acc = builder.add(acc, builder.mul(q, splat(builder, d)))
    return acc


def _dot_step_avx2(builder: Any, acc: Any, document: Any, query: Any) -> Any:
    v8i32, v16i16, v32i8 = ir.VectorType(I32, 8), ir.VectorType(I16, 16), ir.VectorType(I8, 32)
    d = builder.bitcast(splat(builder, document, 8), v32i8)
    ones = ir.Constant(v16i16, [1] * 16)
    halves = []
    for half in range(2):
        mask = ir.Constant(ir.VectorType(I32, 8), list(range(8 * half, 8 * half + 8)))
        q = builder.bitcast(builder.shuffle_vector(query, query, mask), v32i8)
        # Cannot saturate: two products of at most 255 * 63 stay below 2**15.
        pairs = call(builder, "llvm.x86.avx2.pmadd.ub.sw", v16i16, [d, q])
        halves.append(call(builder, "llvm.x86.avx2.pmadd.wd", v8i32, [pairs, ones]))
    joined = builder.shuffle_vector(*halves, ir.Constant(V16I32, list(range(16))))
    return builder.add(acc, joined)


def fma_step(builder: Any, acc: Any, document: Any, query: Any) -> Any:
    """acc + one document value times the same dim of 16 query tokens, rounded once."""
    return call(builder, "llvm.fma.v16f32", V16F32, [splat(builder, document), query, acc])


def accumulate(
    builder: Any,
    n_steps: Any,
    tile: int,
    vectors: int,
    zero: Any,
    step: Callable[[Any, Values], Values],
) -> Values:
    """Loop n_steps times over `step(step number, accumulators)`, the tile * vectors accumulators in registers."""
    function = builder.function
    before = builder.block
    body = function.append_basic_block("body")
    after = function.append_basic_block("after")
    builder.branch(body)
    builder.position_at_end(body)
    index = builder.phi(I64)
    index.add_incoming(number(0), before)
    accumulators = [builder.phi(zero.type) for _ in range(tile * vectors)]
    for phi in accumulators:
        phi.add_incoming(zero, before)
    updated = step(index, accumulators)
    following = builder.add(index, number(1))
    index.add_incoming(following, builder.block)
    for phi, value in zip(accumulators, updated):
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, n_steps), body, after)
    builder.position_at_end(after)
    return updated


def integer_tile(tier: str, tile: int, vectors: int) -> Any:
    """Intrinsic (document, row_bytes, widths, query, corrections, maxima, n_words) -> None, all addresses.

    document: tile rows of row_bytes unpacked u8 values; widths: tile float32 (grid width / 2**(bits + 1));
    query: n_words x vectors x 16 x 4 s8; corrections: vectors x 16 int32; maxima: vectors x 16 float32.
    """

    @intrinsic
    def tile_maxima(typingctx, document, row_bytes, widths, query, corrections, maxima, n_words):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            document, row_bytes, widths, query, corrections, maxima, n_words = arguments

            def step(word: Any, accumulators: Values) -> Values:
                at = builder.mul(word, number(64 * vectors))
                queries = [
                    load(builder, query, builder.add(at, number(64 * v)), V16I32, 64) for v in range(vectors)
                ]
                row = builder.add(document, builder.mul(word, number(4)))
                updated = []
                for token in range(tile):
                    value = load(builder, row, number(0), I32, 4)
                    row = builder.add(row, row_bytes)
                    updated += [
                        dot_step(builder, tier, accumulators[token * vectors + v], value, queries[v])
                        for v in range(vectors)
                    ]
                return updated

            zero = ir.Constant(V16I32, [0] * LANES)
            dots = accumulate(builder, n_words, tile, vectors, zero, step)
            for v in range(vectors):
                best = load(builder, maxima, number(64 * v), V16F32, 64)
                correction = load(builder, corrections, number(64 * v), V16I32, 64)
                for token in range(tile):
                    dot = dots[token * vectors + v]
                    odd = builder.add(builder.add(dot, dot), correction)
                    width = load(builder, widths, number(4 * token), F32, 4)
                    similarity = builder.fmul(builder.sitofp(odd, V16F32), splat(builder, width))
                    best = builder.select(builder.fcmp_ordered(">", similarity, best), similarity, best)
                store(builder, best, maxima, number(64 * v), 64)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 7), codegen

    return tile_maxima


def float_tile(tile: int, vectors: int) -> Any:
    """Intrinsic (document, row_bytes, query, maxima, dim) -> None, all addresses.

    document: tile rows of float32; query: dim x vectors x 16 float32; maxima: vectors x 16 float32.
    """

    @intrinsic
    def tile_maxima(typingctx, document, row_bytes, query, maxima, dim):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            document, row_bytes, query, maxima, dim = arguments

            def step(index: Any, accumulators: Values) -> Values:
                at = builder.mul(index, number(64 * vectors))
                queries = [
                    load(builder, query, builder.add(at, number(64 * v)), V16F32, 64) for v in range(vectors)
                ]
                row = builder.add(document, builder.mul(index, number(4)))
                updated = []
                for token in range(tile):
                    value = load(builder, row, number(0), F32, 4)
                    row = builder.add(row, row_bytes)
                    updated += [
                        fma_step(builder, accumulators[token * vectors + v], value, queries[v])
                        for v in range(vectors)
                    ]
                return updated

            dots = accumulate(builder, dim, tile, vectors, ir.Constant(V16F32, [0.0] * LANES), step)
            for v in range(vectors):
                best = load(builder, maxima, number(64 * v), V16F32, 64)
                for token in range(tile):
                    dot = dots[token * vectors + v]
                    best = builder.select(builder.fcmp_ordered(">", dot, best), dot, best)
                store(builder, best, maxima, number(64 * v), 64)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 5), codegen

    return tile_maxima


def unpacker(chunk_bytes: int, n_planes: int) -> Any:
    """Intrinsic (plane0, plane1, n_bytes, bits, n_shifts, out) -> None: plane bytes to one value per byte, shift by shift.

    plane0, plane1, out are addresses; n_bytes is a multiple of chunk_bytes, bits 1, 2, 4 or 8, n_shifts 8 / bits. With two planes
    each value is plane0's bits above plane1's. out[shift * n_bytes + i] comes from byte i.
    """

    @intrinsic
    def unpack(typingctx, plane0, plane1, n_bytes, bits, n_shifts, out):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            plane0, plane1, n_bytes, bits, n_shifts, out = arguments
            vector = ir.VectorType(I32, chunk_bytes // 4)
            narrow = builder.trunc(bits, I32)
            # One byte of `bits` ones, in all four bytes of a word.
            ones = builder.sub(builder.shl(ir.Constant(I32, 1), narrow), ir.Constant(I32, 1))
            mask = splat(builder, builder.mul(ones, ir.Constant(I32, 0x01010101)), chunk_bytes // 4)
            up = splat(builder, narrow, chunk_bytes // 4)
            with cgutils.for_range(builder, n_shifts) as shifts:
                by = splat(builder, builder.mul(builder.trunc(shifts.index, I32), narrow), chunk_bytes // 4)
                row = builder.add(out, builder.mul(shifts.index, n_bytes))
                with cgutils.for_range(builder, builder.sdiv(n_bytes, number(chunk_bytes))) as chunks:
                    at = builder.mul(chunks.index, number(chunk_bytes))
                    value = builder.and_(builder.lshr(load(builder, plane0, at, vector, 1), by), mask)
                    if n_planes == 2:
                        low = builder.and_(builder.lshr(load(builder, plane1, at, vector, 1), by), mask)
                        value = builder.or_(builder.shl(value, up), low)
                    store(builder, value, row, at, 1)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 6), codegen

    return unpack


@intrinsic
def unpack_dims(typingctx, plane, n_bytes, bits, below, out):  # type: ignore[no-untyped-def]
    """(plane, n_bytes, bits, below, out) -> None: values in the order of the dims, or-ed into `out` bytes.

    plane and out are addresses; each value is shifted left by `below`, above bits that are there or will be.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        plane, n_bytes, bits, below, out = arguments
        narrow, up = builder.trunc(bits, I32), builder.trunc(below, I32)
        ones = builder.sub(builder.shl(ir.Constant(I32, 1), narrow), ir.Constant(I32, 1))
        mask = builder.mul(ones, ir.Constant(I32, 0x01010101))
        n_shifts = builder.sdiv(number(8), bits)
        with cgutils.for_range(builder, builder.sdiv(n_bytes, number(4))) as words:
            word = load(builder, plane, builder.mul(words.index, number(4)), I32, 1)
            row = builder.add(out, builder.mul(builder.mul(words.index, n_shifts), number(4)))
            with cgutils.for_range(builder, n_shifts) as shifts:
                by = builder.mul(builder.trunc(shifts.index, I32), narrow)
                value = builder.shl(builder.and_(builder.lshr(word, by), mask), up)
                at = builder.mul(shifts.index, number(4))
                store(builder, builder.or_(load(builder, row, at, I32, 1), value), row, at, 1)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), codegen


@intrinsic
def clear(typingctx, out, n_bytes):  # type: ignore[no-untyped-def]
    """Zero n_bytes, a multiple of 4, at an address."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        out, n_bytes = arguments
        with cgutils.for_range(builder, builder.sdiv(n_bytes, number(4))) as words:
            store(builder, ir.Constant(I32, 0), out, builder.mul(words.index, number(4)), 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen
