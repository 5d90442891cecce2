"""Which instructions the kernels may use: decided from numba's own target before anything is compiled.

An AVX-512 instruction in code for a smaller target aborts the process, so the choice must agree with what
numba compiles for: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES if they are set, else the host.
"""

import os
from functools import lru_cache

VARIABLE = "COLSEARCH_KERNEL_TIER"
TIERS = ("generic", "avx2", "avx512")
_NEEDS = {
    "avx2": ("avx2", "fma"),
    "avx512": ("avx512f", "avx512bw", "avx512vl", "avx512vnni"),
}
# LLVM's names of CPUs that NUMBA_CPU_NAME may force; any other name gets the generic tier.
_AVX2_CPUS = frozenset(
    {"haswell", "broadwell", "skylake", "znver1", "znver2", "znver3", "x86-64-v3", "alderlake"}
)
_AVX512_CPUS = frozenset(
    {"cascadelake", "icelake-client", "icelake-server", "sapphirerapids", "graniterapids", "znver4", "znver5"}
)


@lru_cache(maxsize=1)
def tier() -> str:
    """The best tier of numba's target, or the lower one that COLSEARCH_KERNEL_TIER asks for."""
    best = _target_tier()
    wanted = os.environ.get(VARIABLE, best)
    if wanted not in TIERS:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(TIERS)}, not {wanted!r}")
    return min(best, wanted, key=TIERS.index)


def _target_tier() -> str:
    from numba.core import config

    name = getattr(config, "CPU_NAME", None)
    features = getattr(config, "CPU_FEATURES", None)
    if features:
        enabled = {f[1:] for f in features.split(",") if f.startswith("+")}
        return _best(enabled)
    if name and name != "host":
        return "avx512" if name in _AVX512_CPUS else "avx2" if name in _AVX2_CPUS else "generic"
    import llvmlite.binding as llvm

    return _best({feature for feature, present in llvm.get_host_cpu_features().items() if present})


def _best(features: set[str]) -> str:
    return next((t for t in ("avx512", "avx2") if features.issuperset(_NEEDS[t])), "generic")
