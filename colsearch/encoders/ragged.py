"""What an encoder hands back, one array per text, as the one ragged type."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from colsearch.errors import EncoderError
from colsearch.types import F32, TokenVectors


def join(output: Any, *, n_texts: int, dim: int) -> TokenVectors:
    """One array or tensor per text, end to end.

    Raises: EncoderError: for a padded 3-D array, in which padding and tokens cannot be told apart, for
        another number of texts, or another dim.
    """
    if isinstance(output, TokenVectors):
        return output
    if not isinstance(output, list | tuple):
        raise EncoderError(
            f"the encoder returned a {type(output).__name__}, perhaps padded; it must return a list with one "
            "(n_tokens, dim) array per text"
        )
    if len(output) != n_texts:
        raise EncoderError(f"the encoder returned {len(output)} arrays for {n_texts} texts")
    arrays = [as_float32(one) for one in output]
    for position, array in enumerate(arrays):
        if array.shape[1] != dim:
            raise EncoderError(f"text {position} was encoded in {array.shape[1]} dimensions, not {dim}")
    flat = np.concatenate([np.empty((0, dim), np.float32), *arrays])
    return TokenVectors(flat, np.array([len(array) for array in arrays], np.int64))


def as_float32(one: Any) -> F32:
    """(n_tokens, dim) of a NumPy array or a torch tensor on any device, in any precision."""
    if hasattr(one, "detach"):
        one = one.detach().float().cpu().numpy()
    array: F32 = np.asarray(one, dtype=np.float32)
    if array.ndim != 2:
        raise EncoderError(f"the encoder returned an array of shape {array.shape}, not (n_tokens, dim)")
    return array


def require_tokens(texts: Sequence[str], vectors: TokenVectors) -> None:
    """Raises: EncoderError: naming the first query that came out without tokens."""
    empty = np.flatnonzero(vectors.doclens == 0)
    if len(empty):
        raise no_token_error(int(empty[0]), texts[int(empty[0])])


def no_token_error(position: int, text: str) -> EncoderError:
    return EncoderError(
        f"query {position} ({text[:40]!r}) holds no token to search for; give at least one word"
    )
