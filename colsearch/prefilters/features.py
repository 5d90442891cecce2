"""What a query token is to the prefilter: its soft assignment to landmarks, itself, and a constant."""

from collections.abc import Sequence

import numpy as np

import colsearch_kernels as kernels
from colsearch.types import F32

# Of the softmax; 5 measured a little better than 8 and 12 at 512 to 1,024 dims.
SHARPNESS = np.float32(5.0)
# Tokens whose landmarks' similarities are held at once: 4 MB a thousand landmarks.
_BLOCK = 1024


def token_features(tokens: F32, landmarks: F32) -> F32:
    """Features of each token; those of c * token are c times as large, as MaxSim is.

    Args:
        tokens: (n, dim).
        landmarks: (dim, n_landmarks), unit columns.
    Returns: (n, n_landmarks + dim + 1) float32.
    """
    dim, n_landmarks = landmarks.shape
    norms = np.linalg.norm(tokens, axis=1, keepdims=True)
    features = np.empty((len(tokens), n_landmarks + dim + 1), np.float32)
    for first in range(0, len(tokens), _BLOCK):
        rows = slice(first, first + _BLOCK)
        unit = tokens[rows] / np.maximum(norms[rows], np.float32(1e-12))
        soft = kernels.product(unit, landmarks)
        soft *= SHARPNESS
        soft -= soft.max(axis=1, keepdims=True)
        np.exp(soft, out=soft)
        soft /= soft.sum(axis=1, keepdims=True)
        features[rows, :n_landmarks] = soft
        features[rows, n_landmarks:-1] = unit
        features[rows, -1] = 1
    features *= norms
    return features


def summed_features(queries: Sequence[F32], landmarks: F32) -> F32:
    """(n_queries, n_landmarks + dim + 1) float32: each query's token features, added up."""
    sums = np.empty((len(queries), sum(landmarks.shape) + 1), np.float32)
    lengths = np.array([len(query) for query in queries])
    # As many queries at once as have about a block of tokens between them.
    groups = np.split(np.arange(len(queries)), np.flatnonzero(np.diff(np.cumsum(lengths) // _BLOCK)) + 1)
    for group in groups:
        features = token_features(np.concatenate([queries[i] for i in group]), landmarks)
        sums[group] = np.add.reduceat(features, np.cumsum(lengths[group]) - lengths[group])
    return sums
