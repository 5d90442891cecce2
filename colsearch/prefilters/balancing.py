"""A change of basis that makes a quantized inner product lose least."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from colsearch.types import F32

F64: TypeAlias = NDArray[np.float64]
# Directions with less than this share of the strongest one's weight count as having it.
_FLOOR = 1e-6


def balanced_basis(documents: F32, queries: F32, parts: Sequence[int], seed: int) -> tuple[F32, F32]:
    """Matrices to multiply documents and queries with, so that <d A, q B> is about <d, q>.

    Both sides get the same second moments, ordered by weight and cut; then each part of the dims is rotated at
    random, so that every dim of a part weighs the same. A quantizer that treats dims alike then adds an error of
    variance tr(C) ** 2, C = (D^1/2 Q D^1/2)^1/2 for second moments D and Q, the least that any invertible
    change of basis with a rotation gives. (Scaling single dims, the usual balance, is the diagonal case.)

    Args:
        documents: (n, r) and queries: (m, r), samples of both.
        parts: numbers of dims, the strongest first; n_dims together.
    Returns: (r, n_dims) for documents and (r, n_dims) for queries, float32.
    """
    root, inverse_root = _roots(_second_moments(documents))
    inner = root @ _second_moments(queries) @ root
    middle, _ = _roots(inner)
    to_documents, to_queries = _roots(_symmetric(inverse_root @ middle @ inverse_root))
    balanced = documents.astype(np.float64) @ to_documents
    weights, directions = np.linalg.eigh(balanced.T @ balanced)
    strongest = directions[:, np.argsort(-weights, kind="stable")[: sum(parts)]]
    rng = np.random.default_rng(seed)
    ends = np.cumsum(parts)
    turn = np.concatenate(
        [part @ _rotation(part.shape[1], rng) for part in np.split(strongest, ends[:-1], 1)], 1
    )
    return (to_documents @ turn).astype(np.float32), (to_queries @ turn).astype(np.float32)


def _rotation(n_dims: int, rng: np.random.Generator) -> F64:
    rotation: F64 = np.linalg.qr(rng.standard_normal((n_dims, n_dims)))[0]
    return rotation


def _second_moments(rows: F32) -> F64:
    exact = rows.astype(np.float64)
    moments: F64 = exact.T @ exact / max(len(rows), 1)
    return moments


def _symmetric(matrix: F64) -> F64:
    half: F64 = (matrix + matrix.T) / 2
    return half


def _roots(moments: F64) -> tuple[F64, F64]:
    """The square root of a symmetric matrix without negative eigenvalues, and its inverse."""
    weights, directions = np.linalg.eigh(moments)
    scale = np.sqrt(np.maximum(weights, max(_FLOOR * weights[-1], 1e-30)))
    return (directions * scale) @ directions.T, (directions / scale) @ directions.T
