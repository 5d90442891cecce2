"""The precision a model computes in: bfloat16 only where the CPU multiplies it in hardware."""

from pathlib import Path
from typing import Literal, TypeAlias

from colsearch.errors import ConfigError

ComputeType: TypeAlias = Literal["auto", "bfloat16", "float32"]


def compute_type(asked: ComputeType, *, device: str) -> Literal["bfloat16", "float32"]:
    """The torch dtype that `asked` means on this machine.

    bfloat16 by AVX512-BF16 or AMX is 2.0-2.2 times as fast as float32 at a token cosine of .9999;
    emulated it is slower than float32, and dynamic int8 (cosine .91) loses the ranking.
    """
    if asked not in ("auto", "bfloat16", "float32"):
        raise ConfigError(f"compute must be 'auto', 'bfloat16' or 'float32', not {asked!r}")
    if asked != "auto":
        return asked
    return "bfloat16" if device == "cpu" and cpu_multiplies_bfloat16() else "float32"


def cpu_multiplies_bfloat16() -> bool:
    """AVX512-BF16 or AMX on Linux; elsewhere unknown, so False."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    flags = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    return bool(flags & {"avx512_bf16", "amx_bf16"})
