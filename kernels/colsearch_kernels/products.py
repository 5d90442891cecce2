"""Small matrix products on the caller's thread: BLAS wakes its threads for them, which costs more than the sum."""

import numpy as np

from colsearch_kernels.codes import F32
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.jit import kernel


@kernel
def _product(left, right, out):  # type: ignore[no-untyped-def]
    """out += left @ right, four rows of `right` at a time."""
    n_rows, n_inner = left.shape
    n_columns = right.shape[1]
    whole = n_inner // 4 * 4
    for row in range(n_rows):
        for i in range(0, whole, 4):
            a, b, c, d = left[row, i], left[row, i + 1], left[row, i + 2], left[row, i + 3]
            for j in range(n_columns):
                out[row, j] += (
                    a * right[i, j] + b * right[i + 1, j] + c * right[i + 2, j] + d * right[i + 3, j]
                )
        for i in range(whole, n_inner):
            a = left[row, i]
            for j in range(n_columns):
                out[row, j] += a * right[i, j]


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
