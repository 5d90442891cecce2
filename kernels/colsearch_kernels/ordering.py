"""Best first: floats and their positions as single integers, which NumPy sorts in lanes, in a few microseconds."""

import numpy as np
from numba import njit

from colsearch_kernels.codes import F32, I64, address
from colsearch_kernels.emit import read_i32, read_i64, write_i32, write_i64
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.jit import kernel


def best_first(values: F32) -> I64:
    """(n,) positions of float32 values from the highest to the lowest, of equals the first first; none is NaN.

    Raises: KernelInputError: for another type or shape.
    """
    if values.dtype != np.float32 or values.ndim != 1:
        raise KernelInputError(f"values must be 1-d float32, not {values.dtype} {values.shape}")
    values = np.ascontiguousarray(values)
    keys = np.empty(len(values), np.int64)
    _fill_keys(address(values), len(values), address(keys))  # type: ignore[no-untyped-call]
    keys.sort()
    keys &= 0xFFFFFFFF
    return keys


@njit(nogil=True, error_model="numpy")
def key_of(bits, position):  # type: ignore[no-untyped-def]
    """Of a float's bits: ascends as floats fall, and with positions among equals."""
    bits = np.int64(bits)
    if bits < 0:
        # Negative floats count down as their bits count up; minus zero becomes zero.
        bits = -(bits & 0x7FFFFFFF)
    return (-bits << 32) | position


@njit(nogil=True, error_model="numpy")
def _bits_of(key):  # type: ignore[no-untyped-def]
    bits = -(key >> 32)
    return np.int32(bits) if bits >= 0 else np.int32(-bits | -0x80000000)


@kernel
def _fill_keys(values, n, keys):  # type: ignore[no-untyped-def]
    for i in range(n):
        write_i64(keys, i, key_of(read_i32(values, i), i))


@kernel
def take_by_keys(keys, n, numbers, found, values):  # type: ignore[no-untyped-def]
    """found[i] is the number at the i-th key's position, values[i] its float32."""
    for i in range(n):
        key = read_i64(keys, i)
        write_i64(found, i, read_i64(numbers, key & 0xFFFFFFFF))
        write_i32(values, i, _bits_of(key))
