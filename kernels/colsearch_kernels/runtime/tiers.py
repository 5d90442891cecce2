"""Which instructions the kernels may use: chosen before anything is compiled, and without Numba.

An AVX-512 instruction in code for a smaller target aborts the process, so the choice must agree with the target
that Numba compiles for: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES if they are set, else the host. Cached machine code
is used only for the tier and features that it was compiled for.
"""

import os
from dataclasses import dataclass
from functools import lru_cache

from colsearch_kernels.errors import KernelInputError

VARIABLE = "COLSEARCH_KERNEL_TIER"
# Query tokens side by side: one register of AVX-512, two of AVX2, four of NEON and SSE.
LANES = 16
# Bytes of a vector of LANES 32-bit numbers, and what kernels align their memory to.
VECTOR_BYTES = 4 * LANES


@dataclass(frozen=True, slots=True)
class Tier:
    """An instruction set and the tiles that fill its registers without spilling them.

    Attributes:
        features: LLVM's names of what the target must have.
        tile: document tokens of the large tile; its sums, the query and one document value fit the registers.
        float_tile: the same for floats, whose steps need no register for intermediate results.
        small_tile: document tokens of the tile for the rest of a document: enough sums to hide the latency of one.
        vectors: the largest number of vectors of LANES query tokens that a tile takes.
        words_per_turn: words of a row that one turn of a tile's inner loop reads before it moves its pointers.
        halves: whether one instruction converts float16.
    """

    name: str
    features: frozenset[str]
    tile: int
    float_tile: int
    small_tile: int
    vectors: int
    words_per_turn: int
    halves: bool


# Lowest first.
TIERS = (
    Tier("generic", frozenset(), 2, 2, 1, 1, 1, False),
    Tier("neon", frozenset({"neon", "dotprod"}), 5, 6, 2, 1, 1, True),
    Tier("avx2", frozenset({"avx2", "fma", "f16c"}), 4, 6, 2, 1, 1, True),
    Tier(
        "avx512", frozenset({"avx512f", "avx512bw", "avx512vl", "avx512vnni", "f16c"}), 12, 12, 4, 2, 4, True
    ),
)
_BY_NAME = {tier.name: tier for tier in TIERS}
# The best tier for each name that NUMBA_CPU_NAME may force. Numba keeps the host's features beside a forced name,
# so the name is an upper limit; any other name gets the generic tier.
_CAPS = {
    "avx2": "haswell broadwell skylake znver1 znver2 znver3 x86-64-v3 alderlake raptorlake meteorlake",
    "avx512": "cascadelake icelake-client icelake-server tigerlake sapphirerapids graniterapids znver4 znver5",
    "neon": "apple-m1 apple-m2 apple-m3 apple-m4 neoverse-n1 neoverse-n2 neoverse-v1 neoverse-v2",
}


@lru_cache(maxsize=1)
def tier() -> Tier:
    """The best tier of numba's target, or the lower one that COLSEARCH_KERNEL_TIER asks for."""
    allowed = [candidate for candidate in TIERS if candidate.features <= target_features()]
    wanted = os.environ.get(VARIABLE, allowed[-1].name)
    if wanted not in _BY_NAME:
        raise KernelInputError(f"{VARIABLE} must be one of {', '.join(_BY_NAME)}, not {wanted!r}")
    # A tier that this target cannot run would abort the process, so the best one below it is taken.
    return [t for t in allowed if TIERS.index(t) <= TIERS.index(_BY_NAME[wanted])][-1]


@lru_cache(maxsize=1)
def target_features() -> frozenset[str]:
    """LLVM's names of the instructions that Numba's target is known to have."""
    name, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if features is not None:
        present = {flag[1:] for flag in features.split(",") if flag.startswith("+")}
    else:
        present = _host_features()
    if not name or name == "host":
        return frozenset(present)
    cap = next((_BY_NAME[tier] for tier, names in _CAPS.items() if name in names.split()), TIERS[0])
    up_to_cap = frozenset().union(*(t.features for t in TIERS if TIERS.index(t) <= TIERS.index(cap)))
    return frozenset(present & up_to_cap)


def has_native_bfloat16() -> bool:
    """Whether one instruction multiplies pairs of bfloat16; elsewhere they are widened, which is exact."""
    return tier().name == "avx512" and "avx512bf16" in target_features()


def _host_features() -> set[str]:
    import llvmlite.binding as llvm

    features = {feature for feature, present in llvm.get_host_cpu_features().items() if present}
    # LLVM cannot list the features of every Apple processor, but all of them have these two.
    if llvm.get_host_cpu_name().startswith("apple-"):
        features |= {"neon", "dotprod"}
    return features
