"""Features of tokens, whose sum over a query a learned prefilter takes, and the vector that this sum becomes.

The same bits on every machine: products are integers, and everything else is done in a fixed order.
"""

import numpy as np
from numba import njit

from colsearch_kernels.codes import F32, QuantizedQuery
from colsearch_kernels.emit import read_f32, read_i8
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.exponential import softmax
from colsearch_kernels.jit import kernel
from colsearch_kernels.packing import aligned_block
from colsearch_kernels.products import multiply, packed_rows, products_shape, scratch_bytes, split


class TokenFeatures:
    """Of a token of norm c: c times its soft assignment to landmarks, the token itself, and c.

    Features of c * t are c times those of t, as MaxSim's are. `len` is their number.

    Args:
        landmarks: unit vectors.
        sharpness: what cosines with the landmarks are multiplied with before the softmax.
    Raises: KernelInputError: if the number of dims is no multiple of 4.
    """

    def __init__(self, landmarks: QuantizedQuery, sharpness: float) -> None:
        self.packed = packed_rows(landmarks)
        self.n_landmarks, self.n_dims = len(landmarks), landmarks.padded_dim
        self.sharpness = np.float32(sharpness)

    def __len__(self) -> int:
        return self.n_landmarks + self.n_dims + 1

    def of(self, tokens: QuantizedQuery) -> F32:
        """(n_tokens, n_features) float32.

        Raises: KernelInputError: if the tokens have another number of dims.
        """
        self.check(tokens)
        n = len(tokens)
        features = np.empty((n, len(self)), np.float32)
        products = np.empty(products_shape(n, self.packed), np.float32)
        _memory, scratch = aligned_block(scratch_bytes(n, self.n_dims), zeroed=True)
        values, scales = tokens.addresses
        _features(  # type: ignore[no-untyped-call]
            values, scales, n, self.n_dims, self.n_landmarks, self.sharpness, *self.packed.arguments,
            scratch, products, features,
        )  # fmt: skip
        return features

    def check(self, tokens: QuantizedQuery) -> None:
        if tokens.padded_dim != self.n_dims:
            raise KernelInputError(
                f"the tokens have padded dim {tokens.padded_dim}, the landmarks {self.n_dims}"
            )


class QueryVectors:
    """From queries to vectors: their features, summed, times a projection.

    Args:
        features: of tokens.
        projection: (n_dims, n_features, zeros up to whole 32-bit words) bytes, by rows; of scale 1.
        scales: (n_features,) float32, what the features are multiplied with before they are projected.
        baseline: (n_features,) float32, what they are multiplied with and summed for the second result.
    Raises: KernelInputError.
    """

    def __init__(
        self, features: TokenFeatures, projection: QuantizedQuery, scales: F32, baseline: F32
    ) -> None:
        self._n_padded = -(-len(features) // 4) * 4
        if projection.padded_dim != self._n_padded:
            raise KernelInputError(
                f"the projection takes {projection.padded_dim} features, not {self._n_padded}"
            )
        for name, array in (("scales", scales), ("baseline", baseline)):
            if array.dtype != np.float32 or array.shape != (len(features),):
                raise KernelInputError(
                    f"{name} must be float32 ({len(features)},), not {array.dtype} {array.shape}"
                )
        self._features = features
        self._packed = packed_rows(projection)
        self._n_dims = len(projection)
        # One signature is compiled, of arrays that may be written.
        self._scales, self._baseline = (np.array(array, order="C") for array in (scales, baseline))

    def of(self, query: QuantizedQuery) -> tuple[F32, float]:
        """(n_dims,) float32, and the sum of the features times the baseline.

        Raises: KernelInputError: if the query has another number of dims.
        """
        features = self._features
        features.check(query)
        values, scales = query.addresses
        n, n_padded = len(query), self._n_padded
        products = np.empty(products_shape(n, features.packed), np.float32)
        projected = np.empty(products_shape(2, self._packed), np.float32)
        _memory, scratch = aligned_block(scratch_bytes(n, features.n_dims), zeroed=True)
        _more_memory, more_scratch = aligned_block(scratch_bytes(2, n_padded), zeroed=True)
        vector = np.empty(self._n_dims, np.float32)
        halves, half_scales = np.empty((2, n_padded), np.int8), np.empty(2, np.float32)
        base: float = _query_vector(  # type: ignore[no-untyped-call]
            values, scales, n, features.n_dims, features.n_landmarks, features.sharpness,
            *features.packed.arguments, scratch, products, self._scales, self._baseline,
            *self._packed.arguments, more_scratch, projected, halves, half_scales, vector,
        )  # fmt: skip
        return vector, base


# The arrays that kernels are given are their caller's, who keeps them alive while their addresses are used.


@kernel
def _features(  # type: ignore[no-untyped-def]
    values, token_scales, n_tokens, n_dims, n_landmarks, sharpness, landmarks, initial, scales, n_vectors,
    scratch, products, out,
):  # fmt: skip
    multiply(
        values, token_scales, n_tokens, n_dims, landmarks, initial, scales, n_vectors,
        scratch, products.ctypes.data,
    )  # fmt: skip
    for t in range(n_tokens):
        row, scale = out[t], read_f32(token_scales, t)
        square = np.int64(0)
        for i in range(n_dims):
            value = np.int64(read_i8(values, t * n_dims + i))
            square += value * value
            row[n_landmarks + i] = np.float32(value) * scale
        norm = np.sqrt(np.float32(square)) * scale
        # Cosines are at most 1.
        factor = sharpness / max(norm, np.float32(1e-12))
        softmax(products[t][:n_landmarks], factor, sharpness, norm, row[:n_landmarks])
        row[n_landmarks + n_dims] = norm


@kernel
def _query_vector(  # type: ignore[no-untyped-def]
    values, token_scales, n_tokens, n_dims, n_landmarks, sharpness, landmarks, initial, scales, n_vectors,
    scratch, products, feature_scales, baseline,
    projection, p_initial, p_scales, p_n_vectors, p_scratch, projected, halves, half_scales, vector,
):  # fmt: skip
    n_features, n_padded = feature_scales.shape[0], halves.shape[1]
    features = np.empty((n_tokens, n_features), np.float32)
    _features(  # type: ignore[no-untyped-call]
        values, token_scales, n_tokens, n_dims, n_landmarks, sharpness, landmarks, initial, scales, n_vectors,
        scratch, products, features,
    )  # fmt: skip
    weights = np.zeros(n_padded, np.float32)
    for t in range(n_tokens):
        _add(features[t], weights[:n_features])
    base = 0.0
    for i in range(n_features):
        base += np.float64(weights[i]) * np.float64(baseline[i])
        weights[i] *= feature_scales[i]
    split(weights, halves, half_scales)
    multiply(
        halves.ctypes.data, half_scales.ctypes.data, 2, n_padded, projection, p_initial, p_scales, p_n_vectors,
        p_scratch, projected.ctypes.data,
    )  # fmt: skip
    for i in range(vector.shape[0]):
        vector[i] = projected[0, i] + projected[1, i]
    return base


@njit(nogil=True, error_model="numpy")
def _add(row, sums):  # type: ignore[no-untyped-def]
    for i in range(sums.shape[0]):
        sums[i] += row[i]
