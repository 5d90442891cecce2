"""Features of tokens, whose sum over a query a learned prefilter takes, and the vector that this sum becomes.

The same bits on every machine: products are integers, and everything else is done in a fixed order.
"""

import numpy as np

from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import F32, QuantizedQuery, address
from colsearch_kernels.layout.packing import aligned_block
from colsearch_kernels.prefilter.products import packed_rows, products_shape, scratch_bytes
from colsearch_kernels.runtime.native import Kernel

_features, _query_vector = Kernel("features.features"), Kernel("features.query_vector")


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
        self.sharpness = sharpness

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
        _features(
            values, scales, n, self.n_dims, self.n_landmarks, self.sharpness, *self.packed.arguments,
            scratch, address(products), address(features),
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
        self._scales, self._baseline = (np.ascontiguousarray(array) for array in (scales, baseline))

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
        vector, base = np.empty(self._n_dims, np.float32), np.empty(1)
        _weights_memory, weights = aligned_block(4 * n * len(features) + 6 * n_padded + 8)
        _query_vector(
            values, scales, n, features.n_dims, features.n_landmarks, features.sharpness,
            *features.packed.arguments, scratch, address(products), address(self._scales),
            address(self._baseline), len(features), n_padded, *self._packed.arguments, more_scratch,
            address(projected), weights, address(vector), self._n_dims, address(base),
        )  # fmt: skip
        return vector, float(base[0])
