"""What a codec hands to the store, and the check that all codecs share."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from colsearch.errors import ShapeError
from colsearch.types import F32, U8

U16: TypeAlias = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class EncodedTokens:
    """Codes of tokens, document after document.

    Attributes:
        planes: per plane (n_tokens, bytes) uint8.
        widths: per plane (n_tokens,) uint16, the bits of a float16.
    """

    planes: tuple[U8, ...]
    widths: tuple[U16, ...]

    def __len__(self) -> int:
        return len(self.planes[0])


def checked_vectors(vectors: F32, dim: int) -> F32:
    """The same array, if it is (n_tokens, dim) float32; made contiguous where it is not."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        found = vectors.dtype.str if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise ShapeError(f"token vectors must be a float32 array, not {found}")
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ShapeError(
            f"token vectors have shape {vectors.shape}, the codec takes (n_tokens, {dim}); "
            "was another encoder used?"
        )
    return np.require(vectors, requirements=["C", "A"])
