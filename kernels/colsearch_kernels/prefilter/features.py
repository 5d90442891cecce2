"""Features of tokens, whose sum over a query a learned prefilter takes, and the vector that this sum becomes.

The results are the same bits on every machine: products are integers, and everything else is done in a fixed order.
"""

from typing import TYPE_CHECKING

import numpy as np

from colsearch_kernels.arguments import F32, Landmarks, Projection
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import QuantizedQuery
from colsearch_kernels.layout.packing import aligned_block, pack_fixed_vectors, products_bytes
from colsearch_kernels.runtime.kernel import kernel

if TYPE_CHECKING:
    from colsearch_kernels.compiled.features import features, query_vector
else:
    features = kernel("features.features", globals())
    query_vector = kernel("features.query_vector", globals())


class TokenFeatures:
    """Features of a token of norm c: c times its soft assignment to landmarks, the token itself, and c.

    The features of c * t are c times those of t, as MaxSim's are. `len` is the number of features.

    Args:
        landmarks: unit vectors.
        sharpness: factor of the cosines with the landmarks in the softmax.
    Raises: KernelInputError: if the number of dims is no multiple of 4.
    """

    def __init__(self, landmarks: QuantizedQuery, sharpness: float) -> None:
        lanes = pack_fixed_vectors(landmarks)
        n_landmarks, n_dims = landmarks.values.shape
        self.landmarks = Landmarks(lanes, n_landmarks, n_dims, np.float32(sharpness))
        self._n_features = int(n_landmarks + n_dims + 1)

    def __len__(self) -> int:
        return self._n_features

    def compute(self, tokens: QuantizedQuery) -> F32:
        """(n_tokens, n_features) float32.

        Raises: KernelInputError: if the tokens have another number of dims.
        """
        self.check(tokens)
        n = len(tokens)
        found = np.empty((n, len(self)), np.float32)
        landmarks = self.landmarks
        memory = aligned_block(products_bytes(n, landmarks.n_dims, landmarks.lanes.n_vectors), zeroed=True)
        features(tokens.values, tokens.scales, n, landmarks, memory, found)
        return found

    def check(self, tokens: QuantizedQuery) -> None:
        """Raise KernelInputError if the tokens have another number of dims than the landmarks."""
        if tokens.padded_dim != self.landmarks.n_dims:
            raise KernelInputError(
                f"the tokens have padded dim {tokens.padded_dim}, the landmarks {self.landmarks.n_dims}"
            )


class QueryVectors:
    """Turns queries into vectors: the features of a query, summed, times a projection.

    Args:
        features: of tokens.
        projection: (n_dims, n_features, zeros up to whole 32-bit words) bytes, by rows; of scale 1.
        scales: (n_features,) float32, factors of the features before they are projected.
        baseline: (n_features,) float32, factors of the features in the sum that is the second result.
    Raises: KernelInputError.
    """

    def __init__(
        self, features: TokenFeatures, projection: QuantizedQuery, scales: F32, baseline: F32
    ) -> None:
        n_features = len(features)
        n_padded = -(-n_features // 4) * 4
        if projection.padded_dim != n_padded:
            raise KernelInputError(f"the projection takes {projection.padded_dim} features, not {n_padded}")
        for name, array in (("scales", scales), ("baseline", baseline)):
            if array.dtype != np.float32 or array.shape != (n_features,):
                raise KernelInputError(
                    f"{name} must be float32 ({n_features},), not {array.dtype} {array.shape}"
                )
        self._features = features
        self._projection = Projection(
            lanes=pack_fixed_vectors(projection),
            n_rows=len(projection),
            n_features=n_features,
            n_padded=n_padded,
            scales=np.ascontiguousarray(scales),
            baseline=np.ascontiguousarray(baseline),
        )
        self._projection_bytes = products_bytes(2, n_padded, self._projection.lanes.n_vectors)

    def embed(self, query: QuantizedQuery) -> tuple[F32, float]:
        """The vector, (n_dims,) float32, and the sum of the features times the baseline.

        Raises: KernelInputError: if the query has another number of dims.
        """
        values, landmarks, projection = query.values, self._features.landmarks, self._projection
        n_tokens, n_dims = values.shape
        if n_dims != landmarks.n_dims:
            self._features.check(query)
        memory = aligned_block(self._work_bytes(n_tokens), zeroed=True)
        vector = np.empty(projection.n_rows, np.float32)
        baseline = query_vector(values, query.scales, n_tokens, landmarks, projection, memory, vector)
        return vector, baseline

    def _work_bytes(self, n_tokens: int) -> int:
        """Bytes that the kernel writes to."""
        landmarks, projection = self._features.landmarks, self._projection
        landmark_bytes = products_bytes(n_tokens, landmarks.n_dims, landmarks.lanes.n_vectors)
        # The features of each token, their sum, and this sum as two rows of bytes with a scale each.
        sums = 4 * n_tokens * projection.n_features + 4 * projection.n_padded + 2 * projection.n_padded + 8
        return landmark_bytes + self._projection_bytes + sums
