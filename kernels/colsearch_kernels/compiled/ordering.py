"""Floats and their positions as single integers."""

import numpy as np

from colsearch_kernels.arguments import F32, I64
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import read_i32, read_i64, write_i32, write_i64

# The bits of a key that hold the position.
_POSITION = 0xFFFFFFFF


@subroutine
def key_of(bits: np.int32, position: int) -> int:
    """The key of a float, given its bits: keys ascend as floats descend, and with positions among equals."""
    rank = int(bits)
    if rank < 0:
        # Negative floats count down as their bits count up; minus zero becomes zero.
        rank = -(rank & 0x7FFFFFFF)
    return (-rank << 32) | position


@subroutine
def _bits_of(key: int) -> np.int32:
    bits = -(key >> 32)
    return np.int32(bits) if bits >= 0 else np.int32(-bits | -0x80000000)


def fill_keys(values: F32, n: int, keys: I64) -> None:
    """keys[i] of values[i] and the position i; (n,) arrays."""
    for i in range(n):
        write_i64(keys, i, key_of(read_i32(values, i), i))


def take_by_keys(keys: I64, n: int, rows: I64, sorted_rows: I64, sorted_values: F32) -> None:
    """sorted_rows[i] is the row at the i-th key's position, sorted_values[i] the key's float; (n,) arrays."""
    for i in range(n):
        key = read_i64(keys, i)
        write_i64(sorted_rows, i, read_i64(rows, key & _POSITION))
        write_i32(sorted_values, i, _bits_of(key))
