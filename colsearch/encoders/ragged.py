"""An encoder's output, one array per text -> `TokenVectors`, which hold all texts end to end."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from colsearch.errors import EncoderError, ShapeError
from colsearch.ingest.vectors import as_float32
from colsearch.types import F32, TokenVectors


def join(output: Any, *, n_texts: int, dim: int) -> TokenVectors:
    """Put one array or tensor per text end to end; `TokenVectors` stay as they are.

    Raises: EncoderError: for another number of texts or another dim, and for one padded 3-D array, in
        which padding cannot be told from tokens.
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
    arrays = [token_array(vectors) for vectors in output]
    for position, array in enumerate(arrays):
        if array.shape[1] != dim:
            raise EncoderError(f"text {position} was encoded in {array.shape[1]} dimensions, not {dim}")
    flat = np.concatenate([np.empty((0, dim), np.float32), *arrays])
    return TokenVectors(flat, np.array([len(array) for array in arrays], np.int64))


def token_array(vectors: Any) -> F32:
    """One text's output as (n_tokens, dim) float32.

    Raises: EncoderError: if it is something else.
    """
    try:
        array = as_float32(vectors)
    except ShapeError as error:
        raise EncoderError(f"the encoder's output cannot be used: {error}") from None
    if array.ndim != 2:
        raise EncoderError(f"the encoder returned an array of shape {array.shape}, not (n_tokens, dim)")
    return array


def require_tokens(texts: Sequence[str], vectors: TokenVectors) -> None:
    """Raises: EncoderError: naming the first query that came out without tokens."""
    empty = np.flatnonzero(vectors.doclens == 0)
    if len(empty):
        raise no_token_error(int(empty[0]), texts[int(empty[0])])


def no_token_error(position: int, text: str) -> EncoderError:
    """The error for a query without tokens."""
    return EncoderError(
        f"query {position} ({text[:40]!r}) holds no token to search for; give at least one word"
    )
