"""What is kept as a kernel's machine code stands on its own."""

from typing import Any

import numpy as np
import pytest

from colsearch_kernels.compiled.compiler import machine_code


def test_arguments_are_packed_by_their_types() -> None:
    def first(n: Any, share: np.float32, z: np.float64) -> Any:
        return n

    packing, code = machine_code(first)
    assert packing == "qdd" and b"colsearch_kernel" in code


def test_a_call_that_only_numba_could_resolve_is_refused() -> None:
    def root(value: np.float64) -> Any:
        return np.int64(np.sqrt(value))

    # Loaded without numba, it would end the process.
    with pytest.raises(TypeError, match="root calls sqrt, which only numba knows"):
        machine_code(root)


def test_a_kernel_returns_an_integer_or_nothing() -> None:
    def half(value: np.float64) -> Any:
        return value * 0.5

    with pytest.raises(TypeError, match="half returns float64, not an integer"):
        machine_code(half)
