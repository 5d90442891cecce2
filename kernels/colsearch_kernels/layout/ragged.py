"""Runs of rows of different lengths, end to end in one array."""

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]


def indices_of_ranges(starts: I64, lengths: I64) -> I64:
    """The numbers of the ranges starts[i]..starts[i] + lengths[i] - 1, range after range.

    Args:
        starts, lengths: (n,) int64; lengths >= 0.
    Returns: (lengths.sum(),) int64.
    """
    ends = np.cumsum(lengths)
    indices: I64 = np.repeat(starts - (ends - lengths), lengths)
    indices += np.arange(len(indices))
    return indices
