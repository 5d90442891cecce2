"""Small matrix products on the caller's thread: BLAS wakes its threads for them, which costs more than the sum."""

import numpy as np

from colsearch_kernels.codes import F32
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.jit import kernel


@kernel
def _product(left, right, out):  # type: ignore[no-untyped-def]
    """out += left @ right: four rows of `left` share what is read of four rows of `right`."""
    n_rows, n_inner = left.shape
    n_columns = right.shape[1]
    together, whole = n_rows // 4 * 4, n_inner // 4 * 4
    for row in range(0, together, 4):
        for i in range(0, whole, 4):
            a0, a1, a2, a3 = left[row, i], left[row, i + 1], left[row, i + 2], left[row, i + 3]
            b0, b1, b2, b3 = (
                left[row + 1, i],
                left[row + 1, i + 1],
                left[row + 1, i + 2],
                left[row + 1, i + 3],
            )
            c0, c1, c2, c3 = (
                left[row + 2, i],
                left[row + 2, i + 1],
                left[row + 2, i + 2],
                left[row + 2, i + 3],
            )
            d0, d1, d2, d3 = (
                left[row + 3, i],
                left[row + 3, i + 1],
                left[row + 3, i + 2],
                left[row + 3, i + 3],
            )
            for j in range(n_columns):
                x0, x1, x2, x3 = right[i, j], right[i + 1, j], right[i + 2, j], right[i + 3, j]
                out[row, j] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                out[row + 1, j] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                out[row + 2, j] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                out[row + 3, j] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
    for row in range(together, n_rows):
        for i in range(0, whole, 4):
            a0, a1, a2, a3 = left[row, i], left[row, i + 1], left[row, i + 2], left[row, i + 3]
            for j in range(n_columns):
                out[row, j] += (
                    a0 * right[i, j] + a1 * right[i + 1, j] + a2 * right[i + 2, j] + a3 * right[i + 3, j]
                )
    for row in range(n_rows):
        for i in range(whole, n_inner):
            a0 = left[row, i]
            for j in range(n_columns):
                out[row, j] += a0 * right[i, j]


def product(left: F32, right: F32) -> F32:
    """left @ right, always the same to the bit, on one thread and without the GIL.

    Args:
        left: (n, m) float32.
        right: (m, l) float32, writable, as one signature is compiled.
    Returns: (n, l) float32.
    Raises: KernelInputError.
    """
    for name, array in (("left", left), ("right", right)):
        if array.dtype != np.float32 or array.ndim != 2 or not array.flags.c_contiguous:
            raise KernelInputError(f"{name} must be a C-contiguous float32 matrix")
    if left.shape[1] != right.shape[0]:
        raise KernelInputError(f"shapes {left.shape} and {right.shape} do not multiply")
    out = np.zeros((len(left), right.shape[1]), np.float32)
    left, right = (array if array.flags.writeable else array.copy() for array in (left, right))
    _product(left, right, out)  # type: ignore[no-untyped-call]
    return out
