"""Softmax of a few long rows, the same bits on every machine: NumPy's exp depends on the instruction set."""

import numpy as np

from colsearch_kernels.codes import F32
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.jit import kernel

# exp(x) is exp(x / 32) ** 32. Below the lowest x it counts as that.
_LOWEST = np.float32(-40.0)
_PART = np.float32(1 / 32)
_C6, _C5, _C4, _C3, _C2 = (np.float32(1 / n) for n in (720, 120, 24, 6, 2))
# Sums of a row, so that the order of the additions is not the instruction set's choice.
_SUMS = 16


def softmax(rows: F32, factors: F32, highest: float) -> F32:
    """Softmax of factors[i] * rows[i], to a few parts in a million.

    Args:
        rows: (n, m) float32; factors: (n,) float32.
        highest: no product is much above it, and the largest of a row at most 40 below.
    Returns: (n, m) float32.
    Raises: KernelInputError.
    """
    if rows.dtype != np.float32 or rows.ndim != 2 or factors.dtype != np.float32 or len(rows) != len(factors):
        raise KernelInputError(f"rows {rows.dtype} {rows.shape} and factors {factors.dtype} {factors.shape}")
    out = np.empty(rows.shape, np.float32)
    # One signature is compiled, of arrays that may be written.
    rows, factors = (np.require(array, requirements=["C", "W"]) for array in (rows, factors))
    _softmax(rows, factors, np.float32(highest), out)
    return out


@kernel
def _softmax(rows: F32, factors: F32, highest: np.float32, out: F32) -> None:
    one = np.float32(1)
    sums = np.empty(_SUMS, np.float32)
    n_sums = sums.shape[0]
    for r in range(rows.shape[0]):
        row, to, factor = rows[r], out[r], factors[r]
        n = row.shape[0]
        for i in range(n):
            x = max(row[i] * factor - highest, _LOWEST) * _PART
            y = one + x * (one + x * (_C2 + x * (_C3 + x * (_C4 + x * (_C5 + x * _C6)))))
            y *= y
            y *= y
            y *= y
            y *= y
            to[i] = y * y
        sums[:] = np.float32(0)
        whole = n // n_sums * n_sums
        for start in range(0, whole, n_sums):
            part = to[start : start + n_sums]
            for lane in range(n_sums):
                sums[lane] += part[lane]
        for i in range(whole, n):
            sums[i - whole] += to[i]
        scale = one / sums.sum()
        for i in range(n):
            to[i] *= scale
