"""A change of basis that makes a shortened and quantized inner product lose least."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

F64: TypeAlias = NDArray[np.float64]
# Directions with less than this share of the strongest one's weight count as having it.
_FLOOR = 1e-6


def balanced_basis(documents: F64, queries: F64, parts: Sequence[int], seed: int) -> tuple[F64, F64]:
    """Matrices to multiply documents and queries with, so that <d A, q B> is about <d, q>.

    Both sides get the same second moments, ordered by weight and cut; then each part of the dims is rotated at
    random, so that every dim of a part weighs the same. The cut is the one that changes products least. A quantizer
    that treats dims alike then adds an error of variance tr(C) ** 2, C = (D^1/2 Q D^1/2)^1/2 for second
    moments D and Q, the least that any invertible change of basis with a rotation gives. (Scaling single
    dims, the usual balance, is the diagonal case.)

    Args:
        documents, queries: (r, r) second moments D and Q of both.
        parts: numbers of dims, the strongest first; n_dims together.
    Returns: (r, n_dims) for documents and (r, n_dims) for queries.
    Source: square-root balanced truncation, Moore 1981.
    """
    n_dims = sum(parts)
    floor = max(_FLOOR * np.trace(queries) / len(queries), 1e-30)
    root = np.linalg.cholesky(queries + floor * np.eye(len(queries)))
    squares, directions = np.linalg.eigh(_symmetric(root.T @ documents @ root))
    weights = np.sqrt(np.maximum(squares[::-1][:n_dims], max(_FLOOR**2 * squares[-1], 1e-30)))
    strongest = root @ directions[:, ::-1][:, :n_dims]
    to_documents = strongest / np.sqrt(weights)
    # The same as the inverse of root would give, without what no document has: dims that depend on each other
    # would get large values that cancel, until these are rounded.
    to_queries = documents @ strongest / weights**1.5
    rotation, rng = np.zeros((n_dims, n_dims)), np.random.default_rng(seed)
    for part, end in zip(parts, np.cumsum(parts)):
        rotation[end - part : end, end - part : end] = np.linalg.qr(rng.standard_normal((part, part)))[0]
    return to_documents @ rotation, to_queries @ rotation


def _symmetric(matrix: F64) -> F64:
    half: F64 = (matrix + matrix.T) / 2
    return half
