"""Measures the peak rates of this machine, for kernels to be given as shares of them.

The peak of the vector units is the rate of a loop that contains only one multiply-add instruction, from
register to register, with enough independent sums to hide the latency. Instructions that Numba's target does
not have are left out, because compiling one would abort the process. The peak of memory is the rate of a sum
over numbers that lie in order and do not fit into the cache.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

I32, F32, BF16 = ir.IntType(32), ir.FloatType(), ir.IntType(16)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One multiply-add.

    Attributes:
        name: the LLVM intrinsic.
        feature: the feature of Numba's target that it needs.
        lanes: lanes of a sum; an instruction adds `products` products to each.
        n_sums: number of independent sums; they take three quarters of the registers.
    """

    name: str
    feature: str
    lanes: int
    products: int
    n_sums: int

    @property
    def integer(self) -> bool:
        return "vpdpbusd" in self.name


# Widest first. For each element type the first instruction that the target has is measured.
INSTRUCTIONS = {
    "float32": (
        Instruction("llvm.fma.v16f32", "avx512f", 16, 1, 24),
        Instruction("llvm.fma.v8f32", "fma", 8, 1, 12),
    ),
    "bfloat16": (Instruction("llvm.x86.avx512bf16.dpbf16ps.512", "avx512bf16", 16, 2, 24),),
    "int8": (Instruction("llvm.x86.avx512.vpdpbusd.512", "avx512vnni", 16, 4, 24),),
}


def target_features() -> frozenset[str]:
    """The features of Numba's target, which an environment variable may restrict below the processor's."""
    codegen = cpu_target.target_context.codegen()
    return frozenset(flag[1:] for flag in codegen._tm_features.split(",") if flag.startswith("+"))


def peaks(*, seconds: float = 0.3) -> dict[str, float]:
    """Products per nanosecond of CPU time for each element type that the target has an instruction for."""
    features = target_features()
    rates: dict[str, float] = {}
    for element, instructions in INSTRUCTIONS.items():
        usable = next((candidate for candidate in instructions if candidate.feature in features), None)
        if usable:
            rates[element] = _rate(usable, seconds)
    return rates


def stream(*, n_bytes: int = 1 << 28, n_passes: int = 8) -> float:
    """Bytes per nanosecond of CPU time that one thread reads from memory; the best of several passes."""
    numbers = np.ones(n_bytes // 8, np.int64)
    best = 0.0
    for _ in range(n_passes):
        start = time.process_time_ns()
        total = _sum(numbers)
        elapsed = time.process_time_ns() - start
        if total != len(numbers):
            raise ArithmeticError(f"{len(numbers)} ones add up to {total}")
        best = max(best, numbers.nbytes / elapsed)
    return best


@numba.njit("int64(int64[::1])")  # type: ignore[untyped-decorator, unused-ignore]
def _sum(numbers: NDArray[np.int64]) -> int:
    total = 0
    for number in numbers:
        total += number
    return total


def _rate(instruction: Instruction, seconds: float) -> float:
    loop = _loop(instruction)
    loop(1000, 3)
    n_rounds, best = 200_000, 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.process_time_ns()
        loop(n_rounds, 3)
        elapsed = time.process_time_ns() - start
        products = n_rounds * instruction.n_sums * instruction.lanes * instruction.products
        best = max(best, products / elapsed)
    return best


def _loop(instruction: Instruction) -> Callable[[int, int], int]:
    """A compiled loop of `instruction`; its result depends on every sum, so none can be optimized away."""

    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def body(typing_context: Any, n_rounds: Any, factor: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _generate(builder, instruction, *arguments)

        return types.int64(types.int64, types.int64), generate

    @numba.njit  # type: ignore[untyped-decorator, unused-ignore]
    def loop(n_rounds: int, factor: int) -> int:
        return body(n_rounds, factor)  # type: ignore[no-any-return, unused-ignore]

    compiled: Callable[[int, int], int] = loop
    return compiled


def _generate(builder: Any, instruction: Instruction, n_rounds: Any, factor: Any) -> Any:
    element = I32 if instruction.integer else F32
    vector = ir.VectorType(element, instruction.lanes)
    number = builder.trunc(factor, I32) if instruction.integer else builder.sitofp(factor, F32)
    operand = _splat(builder, number, vector)
    if "bf16" in instruction.name:
        operand = builder.bitcast(operand, ir.VectorType(ir.IntType(16), 2 * instruction.lanes))
        operand = builder.bitcast(operand, ir.VectorType(_BFloat(), 2 * instruction.lanes))
    function_type = ir.FunctionType(vector, _argument_types(instruction, vector, operand.type))
    function = cgutils.get_or_insert_function(builder.module, function_type, instruction.name)
    sums = []
    for i in range(instruction.n_sums):
        slot = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [element(i)] * instruction.lanes), slot)
        sums.append(slot)
    with cgutils.for_range(builder, n_rounds):
        for slot in sums:
            total = builder.load(slot)
            plain = instruction.name.startswith("llvm.fma")
            call = (operand, operand, total) if plain else (total, operand, operand)
            builder.store(builder.call(function, call), slot)
    result = ir.Constant(ir.IntType(64), 0)
    for slot in sums:
        first = builder.extract_element(builder.load(slot), I32(0))
        as_integer = builder.bitcast(first, I32)
        result = builder.xor(result, builder.zext(as_integer, ir.IntType(64)))
    return result


def _argument_types(instruction: Instruction, vector: Any, operand: Any) -> list[Any]:
    if instruction.name.startswith("llvm.fma"):
        return [operand, operand, vector]
    return [vector, operand, operand]


def _splat(builder: Any, number: Any, vector: Any) -> Any:
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), number, I32(0))
    mask = ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), mask)


class _BFloat(ir.types.Type):  # type: ignore[misc, unused-ignore]
    """bfloat, which llvmlite does not have; only the name of the type in LLVM is needed."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash("bfloat")


if __name__ == "__main__":
    for element, rate in peaks().items():
        print(f"{element}: {rate:.1f} products/ns of CPU")
    print(f"memory: {stream():.2f} bytes/ns of CPU")
