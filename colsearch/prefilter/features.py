"""What a query is to the prefilter: its tokens' features, added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

import colsearch_kernels as kernels
from colsearch.types import F32

# Of the softmax; 5 measured a little better than 8 and 12 at 512 to 1,024 dims.
_SHARPNESS = 5.0
# Tokens whose features are held at once where queries are summed: 5 MB at a thousand landmarks.
_BLOCK = 1024


def token_features(landmarks: kernels.QuantizedQuery) -> kernels.TokenFeatures:
    """Each token's soft assignment to landmarks, itself, and a constant, as many times as it is long."""
    return kernels.TokenFeatures(landmarks, _SHARPNESS)


def summed_features(
    queries: Sequence[F32], prepare: Callable[[F32], kernels.QuantizedQuery], features: kernels.TokenFeatures
) -> F32:
    """(n_queries, n_features) float32: each query's token features, added up."""
    lengths = np.array([len(query) for query in queries])
    # As many queries at once as have about a block of tokens between them.
    groups = np.split(np.arange(len(queries)), np.flatnonzero(np.diff(np.cumsum(lengths) // _BLOCK)) + 1)
    sums = []
    for group in groups:
        of_tokens = features.compute(prepare(np.concatenate([queries[i] for i in group])))
        sums.append(np.add.reduceat(of_tokens, np.cumsum(lengths[group]) - lengths[group]))
    return np.concatenate(sums)
