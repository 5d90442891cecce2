"""Which instructions the kernels may use: decided before anything is compiled, and without numba.

An AVX-512 instruction in code for a smaller target aborts the process, so the choice must agree with what
numba compiles for: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES if they are set, else the host. Code from the cache is
of the same tier and features.
"""

import os
from dataclasses import dataclass
from functools import lru_cache

from colsearch_kernels.errors import KernelInputError

VARIABLE = "COLSEARCH_KERNEL_TIER"
# Query tokens side by side: one register of AVX-512, two of AVX2, four of NEON and SSE.
LANES = 16


@dataclass(frozen=True, slots=True)
class Tier:
    """An instruction set and the tiles that fill its registers without spilling them.

    Attributes:
        features: LLVM's names of what the target must have.
        tile: document tokens of the large tile; its sums, the query and one document value fit the registers.
        float_tile: the same for floats, which need no register for what integer steps go through.
        small_tile: of the tile for what is left of a document: enough sums to hide the latency of one.
        vectors: most vectors of 16 query tokens that a tile takes.
        words_per_turn: of a row, in one turn of a tile's inner loop, which then moves a pointer to each row along.
        halves: whether float16 converts in one instruction.
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
# What NUMBA_CPU_NAME may force. Numba keeps the host's features beside a forced name, so the name is a cap;
# any name that is not here gets the generic tier.
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
    # A tier that this target cannot run would abort the process: take the best below it.
    return [t for t in allowed if TIERS.index(t) <= TIERS.index(_BY_NAME[wanted])][-1]


@lru_cache(maxsize=1)
def target_features() -> frozenset[str]:
    """LLVM's names of the instructions that numba's target surely has."""
    name, features = (os.environ.get(f"NUMBA_CPU_{what}") for what in ("NAME", "FEATURES"))
    if features is not None:
        present = {flag[1:] for flag in features.split(",") if flag.startswith("+")}
    else:
        present = _host_features()
    if not name or name == "host":
        return frozenset(present)
    cap = next((_BY_NAME[tier] for tier, names in _CAPS.items() if name in names.split()), TIERS[0])
    known = frozenset().union(*(t.features for t in TIERS if TIERS.index(t) <= TIERS.index(cap)))
    return frozenset(present & known)


def _host_features() -> set[str]:
    import llvmlite.binding as llvm

    features = {feature for feature, present in llvm.get_host_cpu_features().items() if present}
    # LLVM cannot list the features of every Apple processor, but all of them have these two.
    if llvm.get_host_cpu_name().startswith("apple-"):
        features |= {"neon", "dotprod"}
    return features
