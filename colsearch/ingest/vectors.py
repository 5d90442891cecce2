"""Vectors of any library -> float32 arrays of NumPy."""

from typing import Any

import numpy as np

from colsearch.errors import ShapeError
from colsearch.types import F32

# Floats, signed and unsigned integers, and V: the bfloat16 of JAX (ml_dtypes) has that kind.
_NUMBER_KINDS = "fiuV"


def as_float32(vectors: Any) -> F32:
    """The numbers as a C-contiguous float32 array of the same shape, copied only where that is needed.

    Args:
        vectors: a NumPy array, a nested list, or a torch tensor on any device, in any precision.
    Raises: ShapeError: for a ragged list, or entries that are not real numbers.
    """
    if hasattr(vectors, "detach"):
        vectors = vectors.detach().to("cpu").float().numpy()
    try:
        array = np.asarray(vectors)
    except ValueError:
        raise ShapeError("token vectors are one array, not a ragged list") from None
    try:
        if array.dtype.kind in _NUMBER_KINDS:
            return np.asarray(array, dtype=np.float32, order="C")
    except (TypeError, ValueError):
        pass
    raise ShapeError(f"token vectors are numbers, not {array.dtype}")
