"""Document vectors as 4-bit product-quantized codes in three stages: FAISS scans the coarse codes, and a part of the
middle and fine codes is looked up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from colsearch.types import F32, U8

_N_CENTROIDS = 16
# Dims that share a code, at one bit per dim (coarse and fine) or two (middle and tail).
_COARSE_GROUP, _GROUP = 4, 2
# Training vectors per centroid set.
_TRAINING_POINTS = 1024


class DocumentCodes(NamedTuple):
    """Document codes of n documents.

    Attributes:
        coarse: (n, n_bytes) uint8, codes of the first dims, which are the strongest; FAISS scans these.
        middle: (n, n_bytes) uint8, codes of the first dims' residuals after the coarse codes.
        fine: (n, n_bytes) uint8, codes of the first dims' residuals after both, then codes of the tail dims.
    """

    coarse: U8
    middle: U8
    fine: U8

    @classmethod
    def zeros(cls, n_docs: int, n_dims: int) -> "DocumentCodes":
        return cls(*(np.zeros((n_docs, n_bytes), np.uint8) for n_bytes in stage_bytes(n_dims)))

    @classmethod
    def joined(cls, parts: Sequence["DocumentCodes"]) -> "DocumentCodes":
        return cls(*(np.concatenate(stage) for stage in zip(*parts)))


@dataclass(frozen=True, slots=True, eq=False)
class Quantizer:
    """Four sets of 16 centroids; balance and rotation make dims alike, so all groups of dims share a set.

    The first dims, which are the strongest, are coded three times, each time what the codes before left over. The
    tail dims are coded once.

    Attributes:
        coarse: (16, 4) float32 centroids of the first dims, in groups of 4.
        middle: (16, 2) float32 centroids of their residuals, in groups of 2.
        fine: (16, 4) float32 centroids of the residuals after that, in groups of 4.
        tail: (16, 2) float32 centroids of the tail dims, in groups of 2.

    Source: Jégou et al. 2011 (product codes), Chen et al. 2010 (residuals of a first quantizer).
    """

    coarse: F32
    middle: F32
    fine: F32
    tail: F32

    @classmethod
    def train(cls, vectors: F32) -> "Quantizer":
        """From (n, n_dims) float32 vectors whose dims are balanced, the strongest first."""
        n_coarse = coarse_dims(vectors.shape[1])
        first, tail = vectors[:, :n_coarse], _train(vectors[:, n_coarse:], _GROUP)
        coarse = _train(first, _COARSE_GROUP)
        residuals = first - _rounded(first, coarse)[1]
        middle = _train(residuals, _GROUP)
        residuals -= _rounded(residuals, middle)[1]
        return cls(coarse, middle, _train(residuals, _COARSE_GROUP), tail)

    def encode(self, vectors: F32) -> DocumentCodes:
        """Codes of (n, n_dims) float32 vectors."""
        n_coarse = coarse_dims(vectors.shape[1])
        first = vectors[:, :n_coarse]
        coarse, rounded = _rounded(first, self.coarse)
        residuals = first - rounded
        middle, rounded = _rounded(residuals, self.middle)
        residuals -= rounded
        fine, _ = _rounded(residuals, self.fine)
        tail, _ = _rounded(vectors[:, n_coarse:], self.tail)
        return DocumentCodes(coarse, middle, np.concatenate([fine, tail], axis=1))


def coarse_dims(n_dims: int) -> int:
    """The number of first dims, which have coarse codes: a third, rounded down to whole 32-bit words of codes."""
    return max(n_dims // 3 // 32, 1) * 32


def stage_bytes(n_dims: int) -> tuple[int, int, int]:
    """Bytes of a document's coarse, middle and fine codes: 32, 64 and 160 at 768 dims."""
    n_coarse = coarse_dims(n_dims)
    coarse, middle = n_coarse // (2 * _COARSE_GROUP), n_coarse // (2 * _GROUP)
    return coarse, middle, coarse + (n_dims - n_coarse) // (2 * _GROUP)


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
    # The problem is tiny: FAISS's threads would wait for each other at every step.
    with threadpool_limits(1):
        quantizer.train(np.ascontiguousarray(vectors))
    centroids: F32 = faiss.vector_to_array(quantizer.centroids)
    return centroids[: _N_CENTROIDS * group].reshape(_N_CENTROIDS, group)


def _rounded(vectors: F32, centroids: F32) -> tuple[U8, F32]:
    """Codes and the vectors that they stand for; of two neighbouring groups the first is the low half of a byte."""
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
