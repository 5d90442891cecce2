"""Features of tokens, and vectors of queries, against NumPy in double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colsearch_kernels import KernelInputError, QuantizedQuery, QueryVectors, TokenFeatures
from colsearch_kernels.reference import quantize_query

SHARPNESS = 5.0


def quantized(n: int, n_dims: int, seed: int) -> QuantizedQuery:
    rows = np.random.default_rng(seed).standard_normal((n, n_dims), np.float32)
    return quantize_query(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def decoded(tokens: QuantizedQuery) -> np.ndarray:
    rows: np.ndarray = tokens.values.astype(np.float64) * tokens.scales[:, None]
    return rows


def expected_features(tokens: QuantizedQuery, landmarks: QuantizedQuery) -> np.ndarray:
    rows = decoded(tokens)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    exponentials = np.exp(SHARPNESS * (rows / np.maximum(norms, 1e-12)) @ decoded(landmarks).T)
    soft = exponentials / exponentials.sum(axis=1, keepdims=True)
    return np.concatenate([norms * soft, rows, norms], axis=1)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 20),
    n_landmarks=st.integers(1, 70),
    words=st.integers(1, 40),
    length=st.sampled_from([0.0, 1e-3, 1.0, 300.0]),
    seed=st.integers(0, 2**31),
)
def test_features_are_soft_assignments_the_token_and_its_norm(
    n: int, n_landmarks: int, words: int, length: float, seed: int
) -> None:
    landmarks = quantized(n_landmarks, 4 * words, seed)
    unit = quantized(n, 4 * words, seed + 1)
    tokens = QuantizedQuery(unit.values, unit.scales * np.float32(length))
    features = TokenFeatures(landmarks, SHARPNESS)
    found = features.compute(tokens)
    assert len(features) == n_landmarks + 4 * words + 1
    np.testing.assert_allclose(found, expected_features(tokens, landmarks), rtol=5e-5, atol=1e-6 * length)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 20),
    n_landmarks=st.integers(1, 70),
    words=st.integers(1, 30),
    n_dims=st.integers(1, 50),
    seed=st.integers(0, 2**31),
)
def test_a_query_s_vector_is_its_summed_features_projected(
    n: int, n_landmarks: int, words: int, n_dims: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tokens, landmarks = quantized(n, 4 * words, seed), quantized(n_landmarks, 4 * words, seed + 1)
    features = TokenFeatures(landmarks, SHARPNESS)
    scales, baseline = rng.random((2, len(features))).astype(np.float32)
    projection = np.zeros((n_dims, -(-len(features) // 4) * 4), np.int8)
    projection[:, : len(features)] = rng.integers(-63, 64, (n_dims, len(features)))
    vectors = QueryVectors(
        features, QuantizedQuery(projection, np.ones(n_dims, np.float32)), scales, baseline
    )
    vector, base = vectors.embed(tokens)
    summed = features.compute(tokens).sum(axis=0, dtype=np.float64)
    # What is projected is on a grid of a part in 8,000 of the largest.
    allowed = np.abs(summed * scales).max() / 63 / 126 * np.abs(projection).sum(axis=1, dtype=np.float64)
    expected = projection[:, : len(features)].astype(np.float64) @ (summed * scales)
    assert (np.abs(vector - expected) <= 0.51 * allowed + 1e-4).all()
    assert base == pytest.approx(float(summed @ baseline), rel=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(KernelInputError, match="whole 32-bit words"):
        TokenFeatures(quantized(3, 11, 0), SHARPNESS)
    features = TokenFeatures(quantized(3, 12, 0), SHARPNESS)
    with pytest.raises(KernelInputError, match="padded dim 8"):
        features.compute(quantized(2, 8, 1))
    weights = np.ones(16, np.float32)
    vectors = QueryVectors(features, quantized(5, 16, 2), weights, weights)
    with pytest.raises(KernelInputError, match="padded dim 8"):
        vectors.embed(quantized(2, 8, 1))
    with pytest.raises(KernelInputError, match="takes 12 features, not 16"):
        QueryVectors(features, quantized(5, 12, 2), weights, weights)
    for bad in (weights[:8], weights.astype(np.float64)):
        with pytest.raises(KernelInputError, match="scales must be float32"):
            QueryVectors(features, quantized(5, 16, 2), bad, weights)
        with pytest.raises(KernelInputError, match="baseline must be float32"):
            QueryVectors(features, quantized(5, 16, 2), weights, bad)
