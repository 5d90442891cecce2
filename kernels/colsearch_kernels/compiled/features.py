"""Features of tokens, and what their sum over a query becomes; see features.py of the package."""

import numpy as np

from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import f32_row, read_f32, read_i8, sqrt_f32, write_f32, write_f64
from colsearch_kernels.compiled.exponential import softmax
from colsearch_kernels.compiled.products import multiply, split
from colsearch_kernels.runtime.tiers import LANES


@subroutine
def _token_features(
    values, token_scales, n_tokens, n_dims, n_landmarks, sharpness, n_vectors, products, out
):  # fmt: skip
    """Of tokens whose products with the landmarks are known."""
    n_features = n_landmarks + n_dims + 1
    for t in range(n_tokens):
        row, scale = out + 4 * n_features * t, read_f32(token_scales, t)
        square = np.int64(0)
        for i in range(n_dims):
            value = np.int64(read_i8(values, t * n_dims + i))
            square += value * value
            write_f32(row, n_landmarks + i, np.float32(value) * scale)
        norm = sqrt_f32(np.float32(square)) * scale
        # Cosines are at most 1.
        factor = sharpness / max(norm, np.float32(1e-12))
        softmax(products + 4 * LANES * n_vectors * t, n_landmarks, factor, sharpness, norm, row)
        write_f32(row, n_landmarks + n_dims, norm)


def features(
    values, token_scales, n_tokens, n_dims, n_landmarks, sharpness: np.float32, landmarks, initial, scales, n_vectors,
    scratch, products, out,
):  # fmt: skip
    """out: (n_tokens, n_landmarks + n_dims + 1) float32; products: see products.py."""
    multiply(values, token_scales, n_tokens, n_dims, landmarks, initial, scales, n_vectors, scratch, products)
    _token_features(values, token_scales, n_tokens, n_dims, n_landmarks, sharpness, n_vectors, products, out)


def query_vector(
    values, token_scales, n_tokens, n_dims, n_landmarks, sharpness: np.float32, landmarks, initial, scales, n_vectors,
    scratch, products, feature_scales, baseline, n_features, n_padded,
    projection, p_initial, p_scales, p_n_vectors, p_scratch, projected, work, vector, vector_dims, base,
):  # fmt: skip
    """vector: (vector_dims,) float32; base: one float64.

    work: scratch of (n_tokens, n_features) and (n_padded,) float32, (2, n_padded) int8 and two float32.
    """
    features = work
    weights = features + 4 * n_tokens * n_features
    halves = weights + 4 * n_padded
    half_scales = halves + 2 * n_padded
    multiply(values, token_scales, n_tokens, n_dims, landmarks, initial, scales, n_vectors, scratch, products)
    _token_features(
        values, token_scales, n_tokens, n_dims, n_landmarks, sharpness, n_vectors, products, features
    )
    sums = f32_row(weights, n_padded)
    sums[:] = np.float32(0)
    for t in range(n_tokens):
        row = f32_row(features + 4 * n_features * t, n_features)
        for i in range(n_features):
            sums[i] += row[i]
    total = 0.0
    for i in range(n_features):
        total += np.float64(sums[i]) * np.float64(read_f32(baseline, i))
        sums[i] *= read_f32(feature_scales, i)
    write_f64(base, 0, total)
    split(weights, n_padded, halves, half_scales)
    multiply(
        halves, half_scales, 2, n_padded, projection, p_initial, p_scales, p_n_vectors, p_scratch, projected
    )
    for i in range(vector_dims):
        second = 16 * p_n_vectors + i
        write_f32(vector, i, read_f32(projected, i) + read_f32(projected, second))
