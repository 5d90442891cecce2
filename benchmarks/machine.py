"""Describes the conditions of a measurement: processor, versions, commit, load."""

import os
import platform
import subprocess
import warnings
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Only the flags by which a kernel or a peer chooses its code. All flags of a modern CPU would fill a screen.
FEATURES = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "avx_vnni", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve"),
)
PACKAGES = ("numpy", "numba", "faiss-cpu", "torch", "transformers", "sentence-transformers", "ir-measures")


def describe_machine() -> dict[str, object]:
    model, flags = _cpu()
    return {
        "cpu": model,
        "features": [flag for flag in FEATURES if flag in flags],
        "n_cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def describe_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def commit() -> str:
    """Hash of the checked-out commit, with `+changes` if tracked files differ from it."""
    try:
        head = _git("rev-parse", "HEAD")
        # A figure rewrites its result file; the next figure of the run must not look modified by that.
        changed = _git("status", "--porcelain", "-uno", "--", ".", ":!benchmarks/results", ":!*.svg")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")


def load_average() -> float:
    """Number of runnable processes, averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def warn_when_loaded(load: float, *, n_threads: int) -> bool:
    """Whether other processes leave too few CPUs for `n_threads`; warns if so."""
    n_cpus = os.cpu_count() or 1
    loaded = load > n_cpus - n_threads + 0.25
    if loaded:
        warnings.warn(
            f"load average {load} on {n_cpus} CPUs before measuring {n_threads} thread(s): "
            "trust CPU times and ratios, not wall times",
            stacklevel=2,
        )
    return loaded


def _cpu() -> tuple[str, frozenset[str]]:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine(), frozenset()
    fields: dict[str, str] = {}
    for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags") or fields.get("Features") or ""
    return fields.get("model name", platform.machine()), frozenset(flags.split())


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()
