"""Fit a learned prefilter in closed form, on samples, in bounded memory, with the same bits for any thread count."""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

import colsearch_kernels as kernels
from colsearch.codec.rotated import RotatedCodec
from colsearch.prefilter.balance import F64, balanced_basis
from colsearch.prefilter.features import summed_features, token_features
from colsearch.prefilter.model import LearnedPrefilter, quantized_projection
from colsearch.prefilter.quantizer import Quantizer, coarse_dims, whole_dims
from colsearch.prefilter.settings import PrefilterSettings
from colsearch.types import F32, I64


def fit_prefilter(
    codec: RotatedCodec,
    documents: kernels.Codes,
    probes: F32,
    queries: Sequence[F32],
    n_threads: int,
    settings: PrefilterSettings,
) -> LearnedPrefilter:
    """A prefilter whose recall is not measured yet.

    Args:
        codec: the codec of the documents.
        documents: a sample, best some 4,000, at least `settings.min_docs`.
        probes: (n, dim) tokens like those of queries, in random order; `settings.n_probes` of them are taken.
        queries: whole queries, or synthetic ones, which show how the features of a query's tokens add up.
    """
    # Imported first, so that the limits below hold for FAISS's threads too.
    import faiss  # noqa: F401

    tokens = probes[: settings.n_probe_tokens]
    with threadpool_limits(1):
        centers = _landmarks(np.concatenate([tokens, *queries]), settings)
        quantized = codec.prepare_query(tokens[_spread(tokens @ centers.T, settings.n_probes)])
    targets = kernels.token_maxima(
        quantized, documents, ordinals=np.flatnonzero(documents.doclens), n_planes=1, n_threads=n_threads
    )
    means = targets.mean(axis=0)
    targets -= means
    with threadpool_limits(1):
        landmarks = codec.prepare_query(centers)
        token_rows = token_features(landmarks)
        # float64, because one direction of the features is a million times as strong as those that distinguish
        # documents.
        features = token_rows.compute(quantized).astype(np.float64)
        gram = features.T @ features
        gram[np.diag_indices_from(gram)] += settings.ridge * np.trace(gram) / len(gram)
        inverse = np.linalg.inv(gram)
        solver = features @ inverse
        baseline = inverse @ (features.T @ means)
        n_dims = whole_dims(min(settings.n_dims, len(gram)))
        n_coarse = coarse_dims(n_dims)
        to_documents, to_queries = balanced_basis(
            _second_moments(targets @ solver.astype(np.float32)),
            _second_moments(summed_features(queries, codec.prepare_query, token_rows)),
            (n_coarse, n_dims - n_coarse),
            settings.seed,
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


def _landmarks(tokens: F32, settings: PrefilterSettings) -> F32:
    """(n, dim) float32 unit vectors: centroids of a spherical k-means of the tokens."""
    import faiss

    unit = tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), np.float32(1e-12))
    n = max(1, min(settings.n_landmarks, len(unit) // 8))
    means = faiss.Kmeans(
        unit.shape[1], n, niter=4, seed=settings.seed, spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=8,
    )  # fmt: skip
    means.train(unit)
    landmarks: F32 = means.centroids
    return landmarks


def _spread(products: F32, n_probes: int) -> I64:
    """Rows of n_probes tokens, spread evenly over the landmarks that they are nearest to.

    Args:
        products: (n_tokens, n_landmarks) inner products of tokens and landmarks.
    """
    nearest = products.argmax(axis=1)
    order = np.argsort(nearest, kind="stable")
    firsts = np.searchsorted(nearest[order], np.arange(products.shape[1]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - firsts[nearest[order]]
    chosen: I64 = np.argsort(rank, kind="stable")[:n_probes]
    return chosen
