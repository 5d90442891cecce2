"""Best first: floats and their positions as single integers, which NumPy sorts with vector instructions."""

from typing import TYPE_CHECKING

import numpy as np

from colsearch_kernels.arguments import F32, I64
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.runtime.kernel import kernel

if TYPE_CHECKING:
    from colsearch_kernels.compiled.ordering import fill_keys
else:
    fill_keys = kernel("ordering.fill_keys", globals())


def best_first(values: F32) -> I64:
    """(n,) positions of float32 values from the highest to the lowest; equal values keep their order.

    Args:
        values: (n,) float32, none of them NaN.
    Raises: KernelInputError: for another type or shape.
    """
    if values.dtype != np.float32 or values.ndim != 1:
        raise KernelInputError(f"values must be 1-d float32, not {values.dtype} {values.shape}")
    values = np.ascontiguousarray(values)
    keys = np.empty(len(values), np.int64)
    fill_keys(values, len(values), keys)
    keys.sort()
    # The low half of a key is the position.
    keys &= 0xFFFFFFFF
    return keys


def best_k(scores: F32, rows: I64, k: int) -> I64:
    """Positions of the k highest finite scores, best first, equal scores by ascending row.

    Args:
        scores: (n,) float32.
        rows: (n,) int64.
    """
    positions = np.flatnonzero(scores > -np.inf)
    # If nearly all scores are among the best, sorting them all is cheaper than choosing first.
    if 4 * k < len(positions):
        threshold = np.partition(scores[positions], len(positions) - k)[len(positions) - k]
        positions = positions[scores[positions] >= threshold]
    chosen: I64 = positions[np.lexsort((rows[positions], -scores[positions]))[:k]]
    return chosen
