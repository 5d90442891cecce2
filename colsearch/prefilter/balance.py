"""A change of basis after which cutting and quantizing vectors changes their inner products least."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

F64: TypeAlias = NDArray[np.float64]
# Weaker directions are given this share of the strongest one's weight.
_FLOOR = 1e-6


def balanced_basis(documents: F64, queries: F64, parts: Sequence[int], seed: int) -> tuple[F64, F64]:
    """Matrices A and B for documents and queries, so that <d A, q B> is about <d, q>.

    Documents and queries get the same second moments, ordered by weight, and the weakest dims are cut; this cut
    changes products least. A random rotation then spreads the weight evenly within each part of the dims. A
    quantizer that treats all dims alike adds an error of variance tr(C) ** 2 with C = (D^1/2 Q D^1/2)^1/2 for the
    second moments D and Q, the least that any invertible change of basis followed by a rotation can reach.
    (Scaling single dims, the usual balance, is the diagonal case.)

    Args:
        documents, queries: (r, r) float64 second moments D and Q.
        parts: numbers of dims of each part, the strongest part first; they sum to n_dims.
    Returns: A and B, (r, n_dims) each.
    Source: square-root balanced truncation, Moore 1981.
    """
    n_dims = sum(parts)
    floor = max(_FLOOR * np.trace(queries) / len(queries), 1e-30)
    root = np.linalg.cholesky(queries + floor * np.eye(len(queries)))
    squares, directions = np.linalg.eigh(_symmetric(root.T @ documents @ root))
    weights = np.sqrt(np.maximum(squares[::-1][:n_dims], max(_FLOOR**2 * squares[-1], 1e-30)))
    strongest = root @ directions[:, ::-1][:, :n_dims]
    to_documents = strongest / np.sqrt(weights)
    # Equals a product with the inverse of `root`, less directions that no document has. The inverse would give
    # dependent dims large values that cancel each other, but no longer do once they are rounded.
    to_queries = documents @ strongest / weights**1.5
    rotation, rng = np.zeros((n_dims, n_dims)), np.random.default_rng(seed)
    for part, end in zip(parts, np.cumsum(parts)):
        rotation[end - part : end, end - part : end] = np.linalg.qr(rng.standard_normal((part, part)))[0]
    return to_documents @ rotation, to_queries @ rotation


def _symmetric(matrix: F64) -> F64:
    half: F64 = (matrix + matrix.T) / 2
    return half
