"""Checks of arrays before a kernel reads them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels.arguments import F32, I64, MAX_PADDED_DIM
from colsearch_kernels.errors import KernelInputError


def checked_array(
    array: Any, dtype: type[np.generic], shape: tuple[int | None, ...], name: str
) -> NDArray[Any]:
    """The same array, if a kernel can read it as it lies in memory.

    Args:
        shape: None fits any length.
        name: of the array, for the message.
    Raises: KernelInputError: for another type, dtype, byte order, shape or memory layout.
    """
    # `!=` on dtypes also compares the byte order.
    if not isinstance(array, np.ndarray) or array.ndim != len(shape) or array.dtype != np.dtype(dtype):
        found = f"{array.ndim}-d {array.dtype.str}" if isinstance(array, np.ndarray) else type(array).__name__
        raise KernelInputError(f"{name}: need a {len(shape)}-d {np.dtype(dtype).name} array, found {found}")
    if any(wanted is not None and wanted != length for wanted, length in zip(shape, array.shape)):
        raise KernelInputError(f"{name}: need shape {shape}, found {array.shape}")
    check_memory(array, name)
    return array


def check_memory(array: NDArray[Any], name: str) -> None:
    """Raise KernelInputError unless the array is C-contiguous and aligned."""
    if not is_readable(array):
        raise KernelInputError(
            f"{name}: need C-contiguous, aligned memory; pass np.require(array, requirements='CA')"
        )


def is_readable(array: NDArray[Any]) -> bool:
    """Whether the memory of an array is laid out as kernels read it."""
    flags = array.flags
    return flags.c_contiguous and flags.aligned


def checked_vectors(vectors: F32) -> F32:
    """The vectors, copied if a kernel cannot read their memory.

    Raises: KernelInputError: unless they are 2-d float32, of a number of dims that codes may have.
    """
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2:
        found = f"{vectors.ndim}-d {vectors.dtype.str}" if isinstance(vectors, np.ndarray) else type(vectors)
        raise KernelInputError(f"vectors: need a 2-d float32 array, found {found}")
    if not 1 <= vectors.shape[1] <= MAX_PADDED_DIM:
        raise KernelInputError(f"vectors: dim must be 1..{MAX_PADDED_DIM}, not {vectors.shape[1]}")
    return vectors if is_readable(vectors) else np.require(vectors, requirements=["C", "A"])


def checked_ordinals(ordinals: I64, n_docs: int) -> I64:
    """The same ordinals, if they are (n,) int64 within 0..n_docs - 1: most kernels do not check them again.

    Raises: KernelInputError.
    """
    check_is_ordinals(ordinals)
    # As unsigned numbers, negative ones are the largest.
    if len(ordinals) and int(ordinals.view(np.uint64).max()) >= n_docs:
        raise outside(ordinals, n_docs)
    return ordinals


def check_is_ordinals(ordinals: I64) -> None:
    """Raise KernelInputError unless the array is (n,) int64."""
    if not isinstance(ordinals, np.ndarray) or ordinals.dtype != np.int64 or ordinals.ndim != 1:
        raise KernelInputError("ordinals must be a 1-d int64 array")


def outside(ordinals: I64, n_docs: int) -> KernelInputError:
    """The error for ordinals of which some are not within 0..n_docs - 1."""
    return KernelInputError(
        f"ordinals lie within {ordinals.min()}..{ordinals.max()}, but there are documents 0..{n_docs - 1}"
    )
