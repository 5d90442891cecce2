"""Softmax of long rows, the same bits on every machine: NumPy's exp depends on the instruction set."""

import numpy as np
from numba import njit

# exp(x) is exp(x / 32) ** 32. Below the lowest x it counts as that.
_LOWEST = np.float32(-40.0)
_PART = np.float32(1 / 32)
_C6, _C5, _C4, _C3, _C2 = (np.float32(1 / n) for n in (720, 120, 24, 6, 2))
# Sums of a row, so that the order of the additions is not the instruction set's choice.
_SUMS = 16


@njit(nogil=True, error_model="numpy")
def softmax(row, factor, highest, total, out):  # type: ignore[no-untyped-def]
    """out: softmax of factor * row, to a few parts in a million, times `total`; float32 throughout.

    highest: no product is much above it, and the largest at most 40 below.
    """
    one = np.float32(1)
    n = row.shape[0]
    for i in range(n):
        x = max(row[i] * factor - highest, _LOWEST) * _PART
        y = one + x * (one + x * (_C2 + x * (_C3 + x * (_C4 + x * (_C5 + x * _C6)))))
        y *= y
        y *= y
        y *= y
        y *= y
        out[i] = y * y
    sums = np.zeros(_SUMS, np.float32)
    whole = n // _SUMS * _SUMS
    for start in range(0, whole, _SUMS):
        part = out[start : start + _SUMS]
        for lane in range(_SUMS):
            sums[lane] += part[lane]
    for i in range(whole, n):
        sums[i - whole] += out[i]
    scale = total / sums.sum()
    for i in range(n):
        out[i] *= scale
