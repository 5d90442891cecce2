"""Best first: floats and their positions as single integers, which NumPy sorts in lanes, in a few microseconds."""

import numpy as np

from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import F32, I64, address
from colsearch_kernels.runtime.native import Kernel

_fill_keys = Kernel("ordering.fill_keys")


def best_first(values: F32) -> I64:
    """(n,) positions of float32 values from the highest to the lowest, of equals the first first; none is NaN.

    Raises: KernelInputError: for another type or shape.
    """
    if values.dtype != np.float32 or values.ndim != 1:
        raise KernelInputError(f"values must be 1-d float32, not {values.dtype} {values.shape}")
    values = np.ascontiguousarray(values)
    keys = np.empty(len(values), np.int64)
    _fill_keys(address(values), len(values), address(keys))
    keys.sort()
    keys &= 0xFFFFFFFF
    return keys
