"""Features of queries: the features of their tokens, summed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

import colsearch_kernels as kernels
from colsearch.types import F32

# Sharpness of the softmax; 5 measured a little better than 8 and 12 at 512 to 1,024 dims.
_SHARPNESS = 5.0
# Tokens whose features are in memory at once while queries are summed: 5 MB at a thousand landmarks.
_BLOCK = 1024


def token_features(landmarks: kernels.QuantizedQuery) -> kernels.TokenFeatures:
    """Features of a token: its soft assignment to landmarks, the token itself, and a constant, times its norm."""
    return kernels.TokenFeatures(landmarks, _SHARPNESS)


def summed_features(
    queries: Sequence[F32], prepare: Callable[[F32], kernels.QuantizedQuery], features: kernels.TokenFeatures
) -> F32:
    """(n_queries, n_features) float32: the sums of each query's token features."""
    lengths = np.array([len(query) for query in queries])
    # Each group holds queries with about a block of tokens together.
    groups = np.split(np.arange(len(queries)), np.flatnonzero(np.diff(np.cumsum(lengths) // _BLOCK)) + 1)
    sums = []
    for group in groups:
        token_rows = features.compute(prepare(np.concatenate([queries[i] for i in group])))
        sums.append(np.add.reduceat(token_rows, np.cumsum(lengths[group]) - lengths[group]))
    return np.concatenate(sums)
