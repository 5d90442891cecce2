"""How this package compiles: lazily, cached on disk where a folder can be written, without the GIL."""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile at first call, strictly IEEE (no fastmath: the same bits on every CPU), GIL released."""
    # Numba's cache sees edits in the function's own file only, and nothing of the tier; its file names
    # hold the qualified name, so a name with a hash of both can never meet a stale entry.
    function.__qualname__ = f"{function.__qualname__}-{_salt()}"
    try:
        compiled: F = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        # Numba found no folder that it can write a cache to; every process then compiles anew.
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled


@lru_cache(maxsize=1)
def _salt() -> str:
    from colsearch_kernels.tiers import tier

    digest = hashlib.sha256(tier().encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
