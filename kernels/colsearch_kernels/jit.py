"""How this package compiles: lazily, cached on disk where a folder can be written, without the GIL."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile at first call, strictly IEEE (no fastmath: the same bits on every CPU), GIL released."""
    try:
        compiled: F = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        # Numba found no folder that it can write a cache to; every process then compiles anew.
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled
