"""Fit a learned prefilter in closed form, on samples, in bounded memory; the same result for any thread count."""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

import colsearch_kernels as kernels
from colsearch.codec.rotated import RotatedCodec
from colsearch.prefilter.balance import F64, balanced_basis
from colsearch.prefilter.features import summed_features, token_features
from colsearch.prefilter.model import LearnedPrefilter, quantized_projection
from colsearch.prefilter.quantizer import Quantizer, coarse_dims, whole_dims
from colsearch.types import F32, I64

N_LANDMARKS = 1024
# As good as 4,096 taken at random, and a quarter cheaper for every document.
N_PROBES = 3072
# Tokens that probes are chosen from.
_N_TOKENS = 16_384
# Of the vectors that are stored: 256 bytes a document.
N_DIMS = 768
# With fewer, the regression has nothing to learn from, and scanning them is cheap.
MIN_DOCS = 1024
# Of the mean eigenvalue. Of 1e-6 to 1e-1 the best with the documents' quantization error, which grows below.
_RIDGE = 3e-5
_SEED = 20260


def fit_prefilter(
    codec: RotatedCodec, documents: kernels.Codes, probes: F32, queries: Sequence[F32], n_threads: int
) -> LearnedPrefilter:
    """A prefilter; its recall is still to be measured.

    Args:
        codec: of the documents.
        documents: a sample, best some 4,000, at least MIN_DOCS of them.
        probes: (n, dim) tokens like those of queries, in random order; N_PROBES of them are taken.
        queries: whole queries, or what comes near: they say how features of a query's tokens add up.
    """
    import faiss  # noqa: F401  # loaded here, so that the limit below holds for its threads too

    tokens = probes[:_N_TOKENS]
    with threadpool_limits(1):
        centers = _landmarks(np.concatenate([tokens, *queries]))
        quantized = codec.prepare_query(tokens[_spread(tokens @ centers.T)])
    targets = kernels.token_maxima(
        quantized, documents, ordinals=np.flatnonzero(documents.doclens), n_planes=1, n_threads=n_threads
    )
    means = targets.mean(axis=0)
    targets -= means
    with threadpool_limits(1):
        landmarks = codec.prepare_query(centers)
        of_tokens = token_features(landmarks)
        # In float64: one direction of features is a million times as strong as those that tell documents apart.
        features = of_tokens.compute(quantized).astype(np.float64)
        gram = features.T @ features
        gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / len(gram)
        inverse = np.linalg.inv(gram)
        solver = features @ inverse
        baseline = inverse @ (features.T @ means)
        n_dims = whole_dims(min(N_DIMS, len(gram)))
        n_coarse = coarse_dims(n_dims)
        to_documents, to_queries = balanced_basis(
            _second_moments(targets @ solver.astype(np.float32)),
            _second_moments(summed_features(queries, codec.prepare_query, of_tokens)),
            (n_coarse, n_dims - n_coarse),
            _SEED,
        )
        solver = (solver @ to_documents).astype(np.float32)
        projection, scales = quantized_projection(to_queries.astype(np.float32))
        return LearnedPrefilter(
            landmarks=landmarks,
            projection=projection,
            scales=scales,
            baseline=baseline.astype(np.float32),
            probes=quantized,
            probe_means=means,
            solver=solver,
            quantizer=Quantizer.train(targets @ solver),
        )


def _second_moments(rows: F32) -> F64:
    exact = rows.astype(np.float64)
    moments: F64 = exact.T @ exact / max(len(rows), 1)
    return moments


def _landmarks(tokens: F32) -> F32:
    """(n, dim) unit vectors: spherical k-means of the tokens."""
    import faiss

    unit = tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), np.float32(1e-12))
    n = max(1, min(N_LANDMARKS, len(unit) // 8))
    means = faiss.Kmeans(
        unit.shape[1], n, niter=4, seed=_SEED, spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=8,
    )  # fmt: skip
    means.train(unit)
    landmarks: F32 = means.centroids
    return landmarks


def _spread(products: F32) -> I64:
    """Rows of N_PROBES tokens: as many of each landmark's own as possible, the first of them first.

    Args:
        products: (n_tokens, n_landmarks) with the landmarks.
    """
    nearest = products.argmax(axis=1)
    order = np.argsort(nearest, kind="stable")
    firsts = np.searchsorted(nearest[order], np.arange(products.shape[1]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - firsts[nearest[order]]
    chosen: I64 = np.argsort(rank, kind="stable")[:N_PROBES]
    return chosen
