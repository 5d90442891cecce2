"""What a query token is to the prefilter: its soft assignment to landmarks, itself, and a constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

import colsearch_kernels as kernels
from colsearch.types import F32

# Of the softmax; 5 measured a little better than 8 and 12 at 512 to 1,024 dims.
_SHARPNESS = np.float32(5.0)
# Tokens whose features are held at once where queries are summed: 5 MB at a thousand landmarks.
_BLOCK = 1024


def token_features(tokens: kernels.QuantizedQuery, landmarks: kernels.DotProducts) -> F32:
    """Features of each token; those of c * token are c times as large, as MaxSim is.

    Args:
        landmarks: products with unit vectors.
    Returns: (n, n_landmarks + padded_dim + 1) float32.
    """
    n_landmarks = len(landmarks)
    values = tokens.values.astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
    norms = lengths * tokens.scales
    factors = _SHARPNESS / np.maximum(norms, np.float32(1e-12))
    features = np.empty((len(tokens), n_landmarks + tokens.padded_dim + 1), np.float32)
    # Cosines are at most 1.
    soft = kernels.softmax(landmarks.of(tokens), factors, float(_SHARPNESS))
    np.multiply(soft, norms[:, None], out=features[:, :n_landmarks])
    np.multiply(values, tokens.scales[:, None], out=features[:, n_landmarks:-1])
    features[:, -1] = norms
    return features


def summed_features(
    queries: Sequence[F32], prepare: Callable[[F32], kernels.QuantizedQuery], landmarks: kernels.DotProducts
) -> F32:
    """(n_queries, n_features) float32: each query's token features, added up."""
    lengths = np.array([len(query) for query in queries])
    # As many queries at once as have about a block of tokens between them.
    groups = np.split(np.arange(len(queries)), np.flatnonzero(np.diff(np.cumsum(lengths) // _BLOCK)) + 1)
    sums = []
    for group in groups:
        features = token_features(prepare(np.concatenate([queries[i] for i in group])), landmarks)
        sums.append(np.add.reduceat(features, np.cumsum(lengths[group]) - lengths[group]))
    return np.concatenate(sums)
