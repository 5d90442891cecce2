"""Document vectors as 4-bit product codes in two stages: coarse ones that are scanned, fine ones that are looked up."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from colsearch.types import F32, U8

_N_CENTROIDS = 16
# Dims that share a code: one bit a dim where all documents are scanned, two where a few thousand are looked up.
_COARSE_GROUP, _FINE_GROUP = 4, 2
# Vectors that one set of centroids is learnt from.
_TRAINING_POINTS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Quantizer:
    """Three sets of 16 centroids, each shared by all groups of its dims, which balance and rotation make alike.

    The first dims, the strongest, are coded twice: coarsely, then what that leaves. The others are coded once.

    Attributes:
        coarse: (16, 4) float32, of the first dims.
        residual: (16, 2), of the same dims less their coarse centroids.
        rest: (16, 2), of the other dims.

    Source: Jégou et al. 2011 (product codes), Chen et al. 2010 (residuals of a first quantizer).
    """

    coarse: F32
    residual: F32
    rest: F32

    @classmethod
    def train(cls, vectors: F32) -> "Quantizer":
        """From (n, n_dims) float32 vectors whose dims are balanced, the strongest first."""
        n_coarse = coarse_dims(vectors.shape[1])
        first, rest = vectors[:, :n_coarse], vectors[:, n_coarse:]
        coarse = _train(first, _COARSE_GROUP)
        return cls(coarse, _train(first - _rounded(first, coarse)[1], _FINE_GROUP), _train(rest, _FINE_GROUP))

    def encode(self, vectors: F32) -> U8:
        """(n, row_bytes(n_dims)) uint8: coarse codes, then those of the residuals, then those of the rest."""
        n_coarse = coarse_dims(vectors.shape[1])
        codes, rounded = _rounded(vectors[:, :n_coarse], self.coarse)
        residual, _ = _rounded(vectors[:, :n_coarse] - rounded, self.residual)
        rest, _ = _rounded(vectors[:, n_coarse:], self.rest)
        return np.concatenate([codes, residual, rest], axis=1)

    def fine_centroids(self, n_dims: int) -> F32:
        """(n_fine_codes, 16, 2) float32, what the fine codes stand for: residuals first, then the rest."""
        n_residual = coarse_dims(n_dims) // _FINE_GROUP
        of_codes = [self.residual[None]] * n_residual + [self.rest[None]] * (
            n_dims // _FINE_GROUP - n_residual
        )
        return np.concatenate(of_codes)


def coarse_dims(n_dims: int) -> int:
    """How many dims have coarse codes: two thirds, in whole 32-bit words of codes."""
    return max(n_dims * 2 // 3 // 32, 1) * 32


def coarse_bytes(n_dims: int) -> int:
    return coarse_dims(n_dims) // (2 * _COARSE_GROUP)


def row_bytes(n_dims: int) -> int:
    """Of a document: 256 at 768 dims."""
    return coarse_bytes(n_dims) + n_dims // (2 * _FINE_GROUP)


def whole_dims(n_dims: int) -> int:
    """The most dims up to n_dims whose codes fill 32-bit words: a multiple of 16, at least 48."""
    return max(n_dims // 16, 3) * 16


def coarse_faiss(centroids: F32, n_dims: int) -> Any:
    """FAISS's product quantizer of the coarse codes."""
    return _faiss_quantizer(centroids, coarse_dims(n_dims))


def _train(vectors: F32, group: int) -> F32:
    import faiss

    n_dims = vectors.shape[1]
    quantizer = faiss.ProductQuantizer(n_dims, n_dims // group, 4)
    quantizer.train_type = faiss.ProductQuantizer.Train_shared
    quantizer.cp.max_points_per_centroid = _TRAINING_POINTS
    # FAISS's threads would wait for each other at every step of these tiny problems.
    with threadpool_limits(1):
        quantizer.train(np.ascontiguousarray(vectors))
    centroids: F32 = faiss.vector_to_array(quantizer.centroids)
    return centroids[: _N_CENTROIDS * group].reshape(_N_CENTROIDS, group)


def _rounded(vectors: F32, centroids: F32) -> tuple[U8, F32]:
    """Codes, of each pair of neighbouring groups the low half first, and the vectors that they stand for."""
    quantizer = _faiss_quantizer(centroids, vectors.shape[1])
    with threadpool_limits(1):
        codes: U8 = quantizer.compute_codes(np.ascontiguousarray(vectors))
        return codes, quantizer.decode(codes)


def _faiss_quantizer(centroids: F32, n_dims: int) -> Any:
    import faiss

    n_groups = n_dims // centroids.shape[1]
    quantizer = faiss.ProductQuantizer(n_dims, n_groups, 4)
    same = np.tile(np.ascontiguousarray(centroids, np.float32).ravel(), n_groups)
    faiss.copy_array_to_vector(same, quantizer.centroids)
    return quantizer
