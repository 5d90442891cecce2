"""The learned prefilter: one vector a document, whose product with a query's vector is about MaxSim.

MaxSim(Q, D) is the sum over query tokens q of g_D(q) = max over d in D of <q, d>. With features f of a query
token such that g_D(q) is about <f(q), w_D>, MaxSim is about <sum of f(q), w_D>: one inner product. The
document's vector w_D is the least-squares solution against its true g_D on a sample of tokens, the probes,
so a document can be added at any time without training. After LEMUR (ICML 2026), with soft assignment to
landmarks and a reduced-rank regression in place of a network; the ancestor without training is MUVERA
(NeurIPS 2024).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import colsearch_kernels as kernels
from colsearch.errors import DamagedError
from colsearch.prefilters.features import token_features
from colsearch.prefilters.vector_index import VectorIndex, quantize
from colsearch.types import F32, I8, I64, U8

# What the arrays of a model are; one that says otherwise is made anew.
MODEL_META = {"kind": "learned prefilter", "version": 1}
# Documents embedded at once: their targets take 16 MB at 4,096 probes.
_BLOCK_DOCS = 1024


@dataclass(frozen=True, eq=False)
class LearnedPrefilter:
    """Attributes:
    landmarks: unit vectors that query tokens are compared with, as the kernels take them.
    projection: (n_features, n_dims) int8, from a query's summed features to its vector, once these are
        multiplied with `scales`, (n_features,) float32.
    baseline: (n_features,) float32, from the same to the part of MaxSim that all documents share.
    probes: the tokens that documents are measured on, as the kernels take them.
    probe_means: (n_probes,) float32, each probe's mean over the sample of documents.
    solver: (n_probes, n_dims) float32, from a document's targets to its vector.
    centroids: (n_dims / 2, 16, 2) float32 of the product quantizer.
    """

    landmarks: kernels.QuantizedQuery
    projection: I8
    scales: F32
    baseline: F32
    probes: kernels.QuantizedQuery
    probe_means: F32
    solver: F32
    centroids: F32

    @property
    def n_dims(self) -> int:
        return int(self.projection.shape[1])

    @cached_property
    def _products(self) -> "kernels.DotProducts":
        return kernels.DotProducts(self.landmarks)

    def embed_query(self, query: kernels.QuantizedQuery) -> tuple[F32, float]:
        """A query's vector (n_dims,), and what to add to a product with it to estimate MaxSim."""
        features = token_features(query, self._products).sum(axis=0)
        vector = kernels.weighted_sum(features * self.scales, self.projection)
        return vector, float((features * self.baseline).sum())

    def embed_documents(self, codes: kernels.Codes, ordinals: I64, n_threads: int) -> F32:
        """(n, n_dims) float32 vectors; a document without tokens gets zeros."""
        maxima = kernels.token_maxima(self.probes, codes, ordinals=ordinals, n_planes=1, n_threads=n_threads)
        maxima -= self.probe_means
        maxima[codes.doclens[ordinals] == 0] = 0
        # One thread, so that the sums are the same whatever the number of cores.
        with threadpool_limits(1):
            return maxima @ self.solver

    def document_codes(self, codes: kernels.Codes, ordinals: I64, n_threads: int) -> U8:
        """(n, n_dims / 4) uint8, what is stored of these documents."""
        blocks = [
            quantize(self.embed_documents(codes, block, n_threads), self.centroids)
            for block in np.array_split(ordinals, max(-(-len(ordinals) // _BLOCK_DOCS), 1))
        ]
        return np.concatenate(blocks)

    def index(self, document_codes: U8) -> VectorIndex:
        """What finds candidates among these documents."""
        return VectorIndex(document_codes, self.centroids)

    def arrays(self) -> dict[str, Any]:
        """All of it, to be stored."""
        return {
            "landmarks": self.landmarks.values.view(np.uint8),
            "landmark_scales": self.landmarks.scales,
            "projection": self.projection.view(np.uint8),
            "scales": self.scales,
            "baseline": self.baseline,
            "probes": self.probes.values.view(np.uint8),
            "probe_scales": self.probes.scales,
            "probe_means": self.probe_means,
            "solver": self.solver,
            "centroids": self.centroids,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], *, padded_dim: int, name: str) -> "LearnedPrefilter":
        """What `arrays` gave.

        Raises: DamagedError: if an array is missing, shapes do not fit together, or a number is not finite.
        """
        missing = {"landmarks", "probes", "centroids"} - arrays.keys()
        if missing:
            raise DamagedError(f"{name} lacks {', '.join(sorted(missing))}: it is no model of this prefilter")
        n_landmarks, n_probes = len(arrays["landmarks"]), len(arrays["probes"])
        n_features, n_dims = n_landmarks + padded_dim + 1, 2 * len(arrays["centroids"])
        shapes = {
            "landmarks": (n_landmarks, padded_dim),
            "landmark_scales": (n_landmarks,),
            "projection": (n_features, n_dims),
            "scales": (n_features,),
            "baseline": (n_features,),
            "probes": (n_probes, padded_dim),
            "probe_scales": (n_probes,),
            "probe_means": (n_probes,),
            "solver": (n_probes, n_dims),
            "centroids": (n_dims // 2, 16, 2),
        }
        for key, shape in shapes.items():
            dtype = np.uint8 if key in ("landmarks", "projection", "probes") else np.float32
            array = arrays.get(key)
            if array is None or array.dtype != dtype or array.shape != shape or not np.isfinite(array).all():
                found = "missing" if array is None else f"{array.dtype} {array.shape}"
                raise DamagedError(f"{name}: {key} is {found}, expected finite {np.dtype(dtype)} {shape}")
        try:
            landmarks, probes = (
                kernels.QuantizedQuery(np.array(arrays[key]).view(np.int8), np.array(arrays[scales]))
                for key, scales in (("landmarks", "landmark_scales"), ("probes", "probe_scales"))
            )
        except kernels.KernelInputError as error:
            raise DamagedError(f"{name}: {error}") from None
        return cls(
            landmarks=landmarks,
            # A copy: what every query is multiplied with stays in memory.
            projection=np.array(arrays["projection"]).view(np.int8),
            scales=arrays["scales"],
            baseline=arrays["baseline"],
            probes=probes,
            probe_means=arrays["probe_means"],
            solver=arrays["solver"],
            centroids=arrays["centroids"],
        )
