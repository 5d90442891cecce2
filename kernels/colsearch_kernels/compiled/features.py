"""Features of tokens, and the vector that their sum over a query becomes; see prefilter/features.py."""

import numpy as np

from colsearch_kernels.arguments import F32, I8, U8, Landmarks, Projection
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import Address, f32_row, read_f32, read_i8, sqrt_f32, write_f32
from colsearch_kernels.compiled.exponential import softmax
from colsearch_kernels.compiled.products import multiply, split
from colsearch_kernels.layout import packing
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES

products_bytes = subroutine(packing.products_bytes)


@subroutine
def _token_features(
    values: Address, token_scales: Address, n_tokens: int, landmarks: Landmarks, memory: Address, out: Address
) -> None:
    """Features of n_tokens tokens; memory: as `multiply` takes it."""
    n_dims, n_landmarks, sharpness = landmarks.n_dims, landmarks.n_landmarks, landmarks.sharpness
    found = multiply(values, token_scales, n_tokens, n_dims, landmarks.lanes, memory)
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
        cosines = found + VECTOR_BYTES * landmarks.lanes.n_vectors * t
        softmax(cosines, n_landmarks, factor, sharpness, norm, row)
        write_f32(row, n_landmarks + n_dims, norm)


def features(
    values: I8, token_scales: F32, n_tokens: int, landmarks: Landmarks, memory: U8, out: F32
) -> None:
    """Features of tokens, (n_tokens, n_landmarks + n_dims + 1) float32.

    values: (n_tokens, n_dims) int8; token_scales: (n_tokens,) float32; memory: as `multiply` takes it.
    """
    _token_features(values, token_scales, n_tokens, landmarks, memory, out)


def query_vector(
    values: I8,
    token_scales: F32,
    n_tokens: int,
    landmarks: Landmarks,
    projection: Projection,
    memory: U8,
    vector: F32,
) -> float:
    """Write the vector of a query, (n_rows,) float32; returns the sum of its features times the baseline.

    values: (n_tokens, n_dims) int8; token_scales: (n_tokens,) float32; memory: zeros, as
    `prefilter/features.py:_work_bytes` sizes it, aligned to VECTOR_BYTES.
    """
    n_features, n_padded = projection.n_features, projection.n_padded
    more_memory = memory + products_bytes(n_tokens, landmarks.n_dims, landmarks.lanes.n_vectors)
    token_rows = more_memory + products_bytes(2, n_padded, projection.lanes.n_vectors)
    weights = token_rows + 4 * n_tokens * n_features
    halves = weights + 4 * n_padded
    half_scales = halves + 2 * n_padded
    _token_features(values, token_scales, n_tokens, landmarks, memory, token_rows)
    sums = f32_row(weights, n_padded)
    sums[:] = np.float32(0)
    for t in range(n_tokens):
        row = f32_row(token_rows + 4 * n_features * t, n_features)
        for i in range(n_features):
            sums[i] += row[i]
    total = 0.0
    for i in range(n_features):
        total += np.float64(sums[i]) * np.float64(read_f32(projection.baseline, i))
        sums[i] *= read_f32(projection.scales, i)
    split(weights, n_padded, halves, half_scales)
    projected = multiply(halves, half_scales, 2, n_padded, projection.lanes, more_memory)
    for i in range(projection.n_rows):
        second = LANES * projection.lanes.n_vectors + i
        write_f32(vector, i, read_f32(projected, i) + read_f32(projected, second))
    return total
