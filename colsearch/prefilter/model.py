"""The learned prefilter: one vector a document, whose product with a query's vector is about MaxSim.

MaxSim(Q, D) is the sum over query tokens q of g_D(q) = max over d in D of <q, d>. With features f of a query
token such that g_D(q) is about <f(q), w_D>, MaxSim is about <sum of f(q), w_D>: one inner product. The
document's vector w_D is the least-squares solution against its true g_D on a sample of tokens, the probes,
so a document can be added at any time without training. After LEMUR (ICML 2026), with soft assignment to
landmarks and a reduced-rank regression in place of a network; the ancestor without training is MUVERA
(NeurIPS 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import colsearch_kernels as kernels
from colsearch.errors import DamagedError
from colsearch.prefilter.features import token_features
from colsearch.prefilter.quantizer import DocumentCodes, Quantizer, stage_bytes
from colsearch.prefilter.vector_index import VectorIndex
from colsearch.types import F32, I64
from colsearch_kernels.layout.codes import QUERY_MAX
from colsearch_kernels.runtime.lazy import lazy

# What the arrays of a model are; one that says otherwise is made anew.
MODEL_META = {"kind": "learned prefilter", "version": 3}
# Documents embedded at once, and probes: what stays in the second-level cache while documents pass by.
_BLOCK_DOCS, _BLOCK_PROBES = 1024, 1024


@dataclass(frozen=True, eq=False)
class LearnedPrefilter:
    """Attributes:
    landmarks: unit vectors that query tokens are compared with, as the kernels take them.
    projection: (n_dims, n_features + padding) as the kernels take it: the products of its rows with a query's summed
        features, once these are multiplied with `scales`, (n_features,) float32, are the query's vector.
    baseline: (n_features,) float32, from the same to the part of MaxSim that all documents share.
    probes: the tokens that documents are measured on, as the kernels take them.
    probe_means: (n_probes,) float32, each probe's mean over the sample of documents.
    solver: (n_probes, n_dims) float32, from a document's targets to its vector.
    quantizer: of document vectors.
    """

    landmarks: kernels.QuantizedQuery
    projection: kernels.QuantizedQuery
    scales: F32
    baseline: F32
    probes: kernels.QuantizedQuery
    probe_means: F32
    solver: F32
    quantizer: Quantizer

    @property
    def n_dims(self) -> int:
        return len(self.projection)

    @property
    def document_bytes(self) -> int:
        """Of a document's codes."""
        return sum(stage_bytes(self.n_dims))

    @lazy
    def _query_vectors(self) -> kernels.QueryVectors:
        features = token_features(self.landmarks)
        return kernels.QueryVectors(features, self.projection, self.scales, self.baseline)

    def embed_query(self, query: kernels.QuantizedQuery) -> tuple[F32, float]:
        """A query's vector (n_dims,), and what to add to a product with it to estimate MaxSim."""
        return self._query_vectors.embed(query)

    def embed_documents(self, codes: kernels.Codes, ordinals: I64, n_threads: int) -> F32:
        """(n, n_dims) float32 vectors; a document without tokens gets zeros."""
        vectors = np.zeros((len(ordinals), self.n_dims), np.float32)
        empty = codes.doclens[ordinals] == 0
        for first in range(0, len(self.probes), _BLOCK_PROBES):
            block = slice(first, first + _BLOCK_PROBES)
            probes = kernels.QuantizedQuery(self.probes.values[block], self.probes.scales[block])
            maxima = kernels.token_maxima(probes, codes, ordinals=ordinals, n_planes=1, n_threads=n_threads)
            maxima -= self.probe_means[block]
            maxima[empty] = 0
            # One thread, so that the sums are the same whatever the number of cores.
            with threadpool_limits(1):
                vectors += maxima @ self.solver[block]
        return vectors

    def document_codes(self, codes: kernels.Codes, ordinals: I64, n_threads: int) -> DocumentCodes:
        """What is stored of these documents."""
        blocks = [
            self.quantizer.encode(self.embed_documents(codes, block, n_threads))
            for block in np.array_split(ordinals, max(-(-len(ordinals) // _BLOCK_DOCS), 1))
        ]
        return DocumentCodes.joined(blocks)

    def index(self, document_codes: Sequence[DocumentCodes]) -> VectorIndex:
        """What finds candidates among the documents of several segments."""
        return VectorIndex(document_codes, self.quantizer, self.n_dims)

    def arrays(self) -> dict[str, Any]:
        """All of it, to be stored."""
        return {
            "landmarks": self.landmarks.values.view(np.uint8),
            "landmark_scales": self.landmarks.scales,
            "projection": self.projection.values.view(np.uint8),
            "scales": self.scales,
            "baseline": self.baseline,
            "probes": self.probes.values.view(np.uint8),
            "probe_scales": self.probes.scales,
            "probe_means": self.probe_means,
            "solver": self.solver,
            "coarse": self.quantizer.coarse,
            "middle": self.quantizer.middle,
            "fine": self.quantizer.fine,
            "others": self.quantizer.others,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], *, padded_dim: int, name: str) -> LearnedPrefilter:
        """What `arrays` gave.

        Raises: DamagedError: if an array is missing, shapes do not fit together, or a number is not finite.
        """
        missing = {"landmarks", "probes", "projection"} - arrays.keys()
        if missing:
            raise DamagedError(f"{name} lacks {', '.join(sorted(missing))}: it is no model of this prefilter")
        n_landmarks, n_probes = len(arrays["landmarks"]), len(arrays["probes"])
        n_features, n_dims = n_landmarks + padded_dim + 1, len(arrays["projection"])
        shapes = {
            "landmarks": (n_landmarks, padded_dim),
            "landmark_scales": (n_landmarks,),
            "projection": (n_dims, padded_features(n_features)),
            "scales": (n_features,),
            "baseline": (n_features,),
            "probes": (n_probes, padded_dim),
            "probe_scales": (n_probes,),
            "probe_means": (n_probes,),
            "solver": (n_probes, n_dims),
            "coarse": (16, 4),
            "middle": (16, 2),
            "fine": (16, 4),
            "others": (16, 2),
        }
        for key, shape in shapes.items():
            dtype = np.uint8 if key in ("landmarks", "projection", "probes") else np.float32
            array = arrays.get(key)
            if array is None or array.dtype != dtype or array.shape != shape or not np.isfinite(array).all():
                found = "missing" if array is None else f"{array.dtype} {array.shape}"
                raise DamagedError(f"{name}: {key} is {found}, expected finite {np.dtype(dtype)} {shape}")
        try:
            # Copies: what every query is multiplied with stays in memory.
            landmarks, probes, projection = (
                kernels.QuantizedQuery(np.array(arrays[key]).view(np.int8), scales)
                for key, scales in (
                    ("landmarks", np.array(arrays["landmark_scales"])),
                    ("probes", np.array(arrays["probe_scales"])),
                    ("projection", np.ones(n_dims, np.float32)),
                )
            )
        except kernels.KernelInputError as error:
            raise DamagedError(f"{name}: {error}") from None
        return cls(
            landmarks=landmarks,
            projection=projection,
            scales=arrays["scales"],
            baseline=arrays["baseline"],
            probes=probes,
            probe_means=arrays["probe_means"],
            solver=arrays["solver"],
            quantizer=Quantizer(*(arrays[name] for name in ("coarse", "middle", "fine", "others"))),
        )


def padded_features(n_features: int) -> int:
    """Rounded up to whole 32-bit words of bytes."""
    return -(-n_features // 4) * 4


def quantized_projection(matrix: F32) -> tuple[kernels.QuantizedQuery, F32]:
    """(n_features, n_dims) float32 on a 7-bit grid, turned and padded, and each feature's scale."""
    scales = np.maximum(np.abs(matrix).max(axis=1), np.float32(1e-30)) / np.float32(QUERY_MAX)
    values = np.zeros((matrix.shape[1], padded_features(len(matrix))), np.int8)
    values[:, : len(matrix)] = np.rint(matrix / scales[:, None]).T
    return kernels.QuantizedQuery(values, np.ones(len(values), np.float32)), scales
