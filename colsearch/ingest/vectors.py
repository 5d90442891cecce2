"""Token vectors that a caller hands over, checked once: shape, dtype and numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from colsearch.errors import ShapeError, VectorError
from colsearch.types import F32, TokenVectors

# Kinds of NumPy dtypes that hold real numbers: floats, integers, and V, which is what JAX's bfloat16 (ml_dtypes) has.
_NUMBER_KINDS = "fiuV"


def as_float32(vectors: Any) -> F32:
    """The numbers as a C-contiguous float32 array of the same shape, copied only if that is needed.

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


def token_array(vectors: object, dim: int, *, where: str) -> F32:
    """(n_tokens, dim) float32, C-contiguous; `check_rows` looks at its numbers.

    Args:
        vectors: as `as_float32` takes them; an empty list is a document without tokens.
        where: names the array in an error.
    Raises: ShapeError.
    """
    try:
        array = as_float32(vectors)
    except ShapeError as error:
        raise ShapeError(f"{where}: {error}") from None
    if array.ndim == 2 and array.shape[0] == 0:
        return np.empty((0, dim), np.float32)
    if array.ndim != 2 or array.shape[1] != dim:
        raise ShapeError(
            f"{where}: token vectors have shape {array.shape}, the index wants (n_tokens, {dim}); "
            "was it built with another encoder?"
        )
    return array


def check_rows(batch: Sequence[F32], vectors: F32, *, where: Callable[[int], str]) -> None:
    """Refuse rows that hold NaN or infinity, or are all zeros.

    Args:
        batch: (n_tokens, dim) arrays.
        vectors: the same end to end: one look at all of them costs less than many small ones.
        where: names an array of the batch by its number.
    Raises: VectorError: naming the array and the token.
    """
    norms = np.einsum("ij,ij->i", vectors, vectors)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        fault = "is all zeros" if norms[bad[0]] == 0 else "holds NaN, infinity or values too large to square"
        ends = np.cumsum([len(array) for array in batch])
        culprit = int(np.searchsorted(ends, bad[0], side="right"))
        token = bad[0] - (ends[culprit] - len(batch[culprit]))
        raise VectorError(f"{where(culprit)}: token {token} {fault}; leave it out before adding the document")


def joined(batch: Sequence[F32], dim: int) -> TokenVectors:
    """Several documents' token vectors end to end."""
    doclens = np.array([len(vectors) for vectors in batch], np.int64)
    vectors = np.concatenate(batch) if doclens.sum() else np.empty((0, dim), np.float32)
    return TokenVectors(vectors, doclens)
