"""Documents that every process can compute from their numbers; needs NumPy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

DIM = 64
N_TOKENS = 8


def vectors(number: int) -> NDArray[np.float32]:
    """(N_TOKENS, DIM) float32 unit rows, drawn independently, so that no other document is similar."""
    drawn = np.random.default_rng([17, number]).standard_normal((N_TOKENS, DIM))
    return unit(drawn)


def with_nan(number: int) -> NDArray[np.float32]:
    """The vectors of the same document, with one token all NaN."""
    spoilt = vectors(number)
    spoilt[N_TOKENS // 2] = np.nan
    return spoilt


def unit(rows: Any) -> NDArray[np.float32]:
    """Rows of length 1."""
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
