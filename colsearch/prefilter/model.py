"""The learned prefilter: one vector a document, whose product with a query's vector is about MaxSim.

MaxSim(Q, D) is the sum over query tokens q of g_D(q) = max over d in D of <q, d>. If features f of a query token
satisfy g_D(q) = <f(q), w_D> approximately, then MaxSim is about <sum of f(q), w_D>: one inner product. The
document's vector w_D is the least-squares solution against its true g_D on a sample of tokens, the probes.
So documents can be added at any time without training.

Source: LEMUR (ICML 2026), here with soft assignment to landmarks and a reduced-rank regression instead of a
network. MUVERA (NeurIPS 2024) is its ancestor without training.
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
from colsearch.prefilter.quantizer import DocumentCodes, Quantizer
from colsearch.prefilter.vector_index import VectorIndex
from colsearch.types import F32, I64
from colsearch_kernels.layout.codes import QUERY_MAX
from colsearch_kernels.runtime.lazy import lazy

# The layout of a model's arrays; a model of another layout is fitted anew.
MODEL_META = {"kind": "learned prefilter", "version": 3}
# Documents and probes multiplied at once: the probes stay in the second-level cache while documents pass by.
_BLOCK_DOCS, _BLOCK_PROBES = 1024, 1024


@dataclass(frozen=True, eq=False)
class LearnedPrefilter:
    """Attributes:
    landmarks: unit vectors that query tokens are softly assigned to, quantized for the kernels.
    projection: (n_dims, n_features + padding) quantized rows. A query's vector is their product with the
        query's summed features times `scales`.
    scales: (n_features,) float32.
    baseline: (n_features,) float32; its product with the summed features is the part of MaxSim that all
        documents share.
    probes: tokens that documents are measured on, quantized for the kernels.
    probe_means: (n_probes,) float32, each probe's mean similarity over the sample of documents.
    solver: (n_probes, n_dims) float32, maps a document's similarities to the probes, less the means, to its vector.
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

    @lazy
    def query_vectors(self) -> kernels.QueryVectors:
        features = token_features(self.landmarks)
        return kernels.QueryVectors(features, self.projection, self.scales, self.baseline)

    def embed_query(self, query: kernels.QuantizedQuery) -> tuple[F32, float]:
        """A query's vector, (n_dims,) float32, and what to add to a document's product with it to estimate MaxSim."""
        return self.query_vectors.embed(query)

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
            # One thread, so that sums have the same bits on any number of cores.
            with threadpool_limits(1):
                vectors += maxima @ self.solver[block]
        return vectors

    def document_codes(self, codes: kernels.Codes, ordinals: I64, n_threads: int) -> DocumentCodes:
        """The document codes of these documents."""
        blocks = [
            self.quantizer.encode(self.embed_documents(codes, block, n_threads))
            for block in np.array_split(ordinals, max(-(-len(ordinals) // _BLOCK_DOCS), 1))
        ]
        return DocumentCodes.joined(blocks)

    def index(self, document_codes: Sequence[DocumentCodes]) -> VectorIndex:
        """A search index over the document codes of several segments."""
        return VectorIndex(document_codes, self.quantizer, self.n_dims)

    def arrays(self) -> dict[str, Any]:
        """All arrays, by the names under which they are stored."""
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
            "others": self.quantizer.tail,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], *, padded_dim: int, name: str) -> LearnedPrefilter:
        """The inverse of `arrays`.

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
            # Copies, since every query multiplies with these: memory maps might have to be read again.
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
    """n_features rounded up to whole 32-bit words of bytes."""
    return -(-n_features // 4) * 4


def quantized_projection(matrix: F32) -> tuple[kernels.QuantizedQuery, F32]:
    """An (n_features, n_dims) float32 matrix on a 7-bit grid, transposed and padded, and each feature's scale."""
    scales = np.maximum(np.abs(matrix).max(axis=1), np.float32(1e-30)) / np.float32(QUERY_MAX)
    values = np.zeros((matrix.shape[1], padded_features(len(matrix))), np.int8)
    values[:, : len(matrix)] = np.rint(matrix / scales[:, None]).T
    return kernels.QuantizedQuery(values, np.ones(len(values), np.float32)), scales
