"""The multiply-add steps of each element type on each instruction set, as `emit.tile` takes them.

One step multiplies one 32-bit word of a document token (int8: 4 dims, bfloat16: 2, float32: 1) with 4 bytes of the
same dims of each of LANES query tokens. Integer sums are exact, so all instruction sets give the same bits.
"""

from typing import Any

from llvmlite import ir

from colsearch_kernels.compiled.emit import (
    F32,
    I8,
    I16,
    I32,
    I64,
    V16F32,
    V16I32,
    Values,
    call,
    constant,
    halves,
    joined,
    load,
    number,
    splat,
)
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES

V4I32, V8I32 = ir.VectorType(I32, 4), ir.VectorType(I32, 8)
V16I8, V32I8, V16I16 = ir.VectorType(I8, 16), ir.VectorType(I8, 32), ir.VectorType(I16, 16)


class BFloat(ir.types.Type):  # type: ignore[misc, unused-ignore]
    """LLVM's type `bfloat`, which llvmlite lacks; only its name is needed."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash("bfloat")


class Integer:
    """Document u8 against query s8 within -63..63, doubled: the similarity is float32(sum) * width.

    The sum is `initial` + 2 * sum(q * u): codes stand for odd multiples of half a cell, see codes.py.
    """

    word, vector = I32, V16I32

    def __init__(self, tier_name: str) -> None:
        self.step = {
            "avx512": self._step_avx512,
            "avx2": self._step_avx2,
            "neon": self._step_neon,
            "generic": self._step_generic,
        }[tier_name]

    def initial(self, builder: Any, address: Any) -> Any:
        return load(builder, address, V16I32, VECTOR_BYTES)

    def document_value(self, builder: Any, word: Any) -> Any:
        return word

    def similarity(self, builder: Any, dot: Any, width: Any) -> Any:
        return builder.fmul(builder.sitofp(dot, V16F32), splat(builder, load(builder, width, F32, 4)))

    def not_finite(self, builder: Any, dots: Values) -> Any:
        return number(0)

    def _step_avx512(self, builder: Any, acc: Any, document: Any, query: Any) -> Any:
        return call(builder, "llvm.x86.avx512.vpdpbusd.512", V16I32, [acc, splat(builder, document), query])

    def _step_avx2(self, builder: Any, acc: Any, document: Any, query: Any) -> Any:
        d = builder.bitcast(splat(builder, document, 8), V32I8)
        sums = []
        for half in halves(builder, query, 8):
            # Two products of at most 255 * 63 stay below 2**15, so they cannot saturate. Products with a doubled
            # query would, so the pairs are doubled instead.
            pairs = call(builder, "llvm.x86.avx2.pmadd.ub.sw", V16I16, [d, builder.bitcast(half, V32I8)])
            sums.append(call(builder, "llvm.x86.avx2.pmadd.wd", V8I32, [pairs, constant(V16I16, 2)]))
        return builder.add(acc, joined(builder, sums))

    def _step_neon(self, builder: Any, acc: Any, document: Any, query: Any) -> Any:
        # sdot takes signed bytes, so it gets u - 128; `document_bias` corrects the initial sums.
        signed = builder.xor(splat(builder, document, 4), constant(V4I32, 0x80808080))
        d = builder.bitcast(signed, V16I8)
        name = "llvm.aarch64.neon.sdot.v4i32.v16i8"
        return joined(
            builder,
            [
                call(builder, name, V4I32, [a, builder.bitcast(q, V16I8), d])
                for a, q in zip(halves(builder, acc, 4), halves(builder, query, 4))
            ],
        )

    def _step_generic(self, builder: Any, acc: Any, document: Any, query: Any) -> Any:
        for byte in range(4):
            d = builder.and_(builder.lshr(document, ir.Constant(I32, 8 * byte)), ir.Constant(I32, 255))
            q = builder.shl(query, constant(V16I32, 24 - 8 * byte))
            q = builder.ashr(q, constant(V16I32, 24))
            acc = builder.add(acc, builder.mul(q, splat(builder, d)))
        return acc


def query_factor(tier_name: str) -> int:
    """Factor of the query bytes when they are packed."""
    return 1 if tier_name == "avx2" else 2


def document_bias(tier_name: str) -> int:
    """Offset that this tier's dot product subtracts from each document byte."""
    return 128 if tier_name == "neon" else 0


class Float32:
    """One dim a step, rounded once by the fused multiply-add; the similarity is the sum itself."""

    word, vector = F32, V16F32

    def initial(self, builder: Any, address: Any) -> Any:
        return constant(V16F32, 0.0)

    def document_value(self, builder: Any, word: Any) -> Any:
        return splat(builder, word)

    def step(self, builder: Any, acc: Any, document: Any, query: Any) -> Any:
        return call(builder, "llvm.fma.v16f32", V16F32, [document, query, acc])

    def similarity(self, builder: Any, dot: Any, width: Any) -> Any:
        return dot

    def not_finite(self, builder: Any, dots: Values) -> Any:
        # x - x is 0, or NaN for NaN and infinities, and a sum with NaN is NaN. This takes two instructions per sum.
        total = constant(V16F32, 0.0)
        for dot in dots:
            total = builder.fadd(total, builder.fsub(dot, dot))
        lanes = builder.zext(builder.fcmp_unordered("uno", total, total), V16I32)
        any_lane = call(builder, "llvm.vector.reduce.or.v16i32", I32, [lanes])
        return builder.zext(any_lane, I64)


class BFloat16(Float32):
    """Two dims a step by vdpbf16ps, summed in float32."""

    word, vector = I32, V16I32

    def document_value(self, builder: Any, word: Any) -> Any:
        return self._pairs(builder, splat(builder, word))

    def step(self, builder: Any, acc: Any, document: Any, query: Any) -> Any:
        arguments = [acc, document, self._pairs(builder, query)]
        return call(builder, "llvm.x86.avx512bf16.dpbf16ps.512", V16F32, arguments)

    def _pairs(self, builder: Any, words: Any) -> Any:
        return builder.bitcast(words, ir.VectorType(BFloat(), 2 * LANES))
