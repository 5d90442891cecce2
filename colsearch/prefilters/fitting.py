"""Fit a learned prefilter in closed form, on samples, in bounded memory; the same result for any thread count."""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

import colsearch_kernels as kernels
from colsearch.codecs import RotatedCodec
from colsearch.prefilters.balancing import balanced_basis
from colsearch.prefilters.features import summed_features, token_features
from colsearch.prefilters.learned import LearnedPrefilter, quantized_projection
from colsearch.prefilters.quantizer import Quantizer, coarse_dims, whole_dims
from colsearch.types import F32

N_PROBES = 4096
N_LANDMARKS = 1024
# Of the regression, and of the vectors that are stored: 256 bytes a document.
RANK = 1024
N_DIMS = 768
# With fewer, the regression has nothing to learn from, and scanning them is cheap.
MIN_DOCS = 1024
_RIDGE = 1e-3
_SOLVER_RIDGE = 1e-4
_SEED = 20260


def fit(
    codec: RotatedCodec, documents: kernels.Codes, probes: F32, queries: Sequence[F32], n_threads: int
) -> LearnedPrefilter:
    """A prefilter; its recall is still to be measured.

    Args:
        codec: of the documents.
        documents: a sample, best some 4,000, at least MIN_DOCS of them.
        probes: (n, dim) tokens like those of queries; the first N_PROBES count.
        queries: whole queries, or what comes near: they say how features of a query's tokens add up.
    """
    import faiss  # noqa: F401  # loaded here, so that the limit below holds for its threads too

    probes = np.ascontiguousarray(probes[:N_PROBES])
    quantized = codec.prepare_query(probes)
    targets = kernels.token_maxima(
        quantized, documents, ordinals=np.flatnonzero(documents.doclens), n_planes=1, n_threads=n_threads
    ).T
    means = targets.mean(axis=1)
    targets = targets - means[:, None]
    with threadpool_limits(1):
        landmarks = codec.prepare_query(_landmarks(np.concatenate([probes, *queries])))
        products = kernels.DotProducts(landmarks)
        features = token_features(quantized, products)
        gram = features.T.astype(np.float64) @ features
        gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / len(gram)
        lower = np.linalg.cholesky(gram)
        # Directions of the fitted values, strongest first, in features that are white under `gram`.
        fitted = np.linalg.solve(lower, features.T @ targets)
        weights, directions = np.linalg.eigh(fitted @ fitted.T)
        strongest = directions[:, np.argsort(-weights, kind="stable")[:RANK]]
        projection = np.linalg.solve(lower.T, strongest).astype(np.float32) * np.sqrt(np.float32(len(probes)))
        baseline = np.linalg.solve(gram, features.T.astype(np.float64) @ means).astype(np.float32)
        solver = _solver(features @ projection)
        vectors = targets.T @ solver
        asked = summed_features(queries, codec.prepare_query, products) @ projection
        n_dims = whole_dims(min(N_DIMS, projection.shape[1]))
        parts = coarse_dims(n_dims), n_dims - coarse_dims(n_dims)
        to_documents, to_queries = balanced_basis(vectors, asked, parts, _SEED)
        projection, scales = quantized_projection(projection @ to_queries)
        return LearnedPrefilter(
            landmarks=landmarks,
            projection=projection,
            scales=scales,
            baseline=baseline,
            probes=quantized,
            probe_means=means,
            solver=solver @ to_documents,
            quantizer=Quantizer.train(vectors @ to_documents),
        )


def _landmarks(tokens: F32) -> F32:
    """(n, dim) unit vectors: spherical k-means of the tokens."""
    import faiss

    unit = tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), np.float32(1e-12))
    n = max(1, min(N_LANDMARKS, len(unit) // 8))
    means = faiss.Kmeans(
        unit.shape[1], n, niter=8, seed=_SEED, spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=16,
    )  # fmt: skip
    means.train(unit)
    landmarks: F32 = means.centroids
    return landmarks


def _solver(features: F32) -> F32:
    """(n_probes, n_dims): least squares against these features is one product with it."""
    gram = features.T.astype(np.float64) @ features
    gram[np.diag_indices_from(gram)] += _SOLVER_RIDGE * np.trace(gram) / len(gram)
    solver: F32 = np.linalg.solve(gram, features.T.astype(np.float64)).T.astype(np.float32)
    return np.ascontiguousarray(solver)
