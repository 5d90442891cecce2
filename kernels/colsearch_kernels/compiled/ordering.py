"""Floats and their positions as single integers."""

import numpy as np

from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import read_i32, read_i64, write_i32, write_i64


@subroutine
def key_of(bits, position):
    """Of a float's bits: ascends as floats fall, and with positions among equals."""
    bits = np.int64(bits)
    if bits < 0:
        # Negative floats count down as their bits count up; minus zero becomes zero.
        bits = -(bits & 0x7FFFFFFF)
    return (-bits << 32) | position


@subroutine
def _bits_of(key):
    bits = -(key >> 32)
    return np.int32(bits) if bits >= 0 else np.int32(-bits | -0x80000000)


def fill_keys(values, n, keys):
    for i in range(n):
        write_i64(keys, i, key_of(read_i32(values, i), i))


def take_by_keys(keys, n, numbers, found, values):
    """found[i] is the number at the i-th key's position, values[i] its float32."""
    for i in range(n):
        key = read_i64(keys, i)
        write_i64(found, i, read_i64(numbers, key & 0xFFFFFFFF))
        write_i32(values, i, _bits_of(key))
