"""Document vectors in 4-bit product codes, and FAISS's fast scan over them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from colsearch.types import F32, I64, U8

# Dims that share a 4-bit code.
_GROUP = 2
_N_CENTROIDS = 16


def train_quantizer(vectors: F32) -> F32:
    """(n_dims / 2, 16, 2) centroids of a product quantizer, the same for all groups; n_dims is a multiple of 4.

    Vectors are balanced, so that all groups look alike: one set of centroids learnt from all of them is no
    worse than one a group learnt from a few thousand points, and takes a hundredth of the time.

    Source: Jégou et al. 2011; the 4-bit form that fits into registers is André et al. 2015.
    """
    import faiss

    n_dims = vectors.shape[1]
    quantizer = faiss.ProductQuantizer(n_dims, n_dims // _GROUP, 4)
    quantizer.train_type = faiss.ProductQuantizer.Train_shared
    quantizer.cp.max_points_per_centroid = 1024
    # FAISS's threads would wait for each other at every step of these tiny problems.
    with threadpool_limits(1):
        quantizer.train(np.ascontiguousarray(vectors))
    centroids: F32 = faiss.vector_to_array(quantizer.centroids)
    return centroids.reshape(n_dims // _GROUP, _N_CENTROIDS, _GROUP)


def quantize(vectors: F32, centroids: F32) -> U8:
    """(n, n_dims / 4) uint8: of each pair of neighbouring groups the nearest centroids, low half first."""
    quantizer = _quantizer(centroids)
    with threadpool_limits(1):
        codes: U8 = quantizer.compute_codes(np.ascontiguousarray(vectors))
    return codes


class VectorIndex:
    """Documents, searched by inner product.

    Attributes:
        n_docs: in the order of their codes.
    """

    def __init__(self, codes: U8, centroids: F32) -> None:
        import faiss

        n_groups = len(centroids)
        n_dims = n_groups * _GROUP
        self.n_docs = len(codes)
        # One list: FAISS's plain fast scan takes no selector, its inverted one does.
        self._coarse = faiss.IndexFlatIP(n_dims)
        self._coarse.add(np.zeros((1, n_dims), np.float32))
        lists = faiss.IndexIVFPQ(self._coarse, n_dims, 1, n_groups, 4, faiss.METRIC_INNER_PRODUCT)
        lists.by_residual = False
        lists.pq = _quantizer(centroids)
        lists.is_trained = True
        rows, ids = np.ascontiguousarray(codes), np.arange(len(codes), dtype=np.int64)
        if len(codes):
            lists.invlists.add_entries(0, len(codes), faiss.swig_ptr(ids), faiss.swig_ptr(rows))
        lists.ntotal = len(codes)
        self._faiss = faiss.IndexIVFPQFastScan(lists)

    def search(self, query: F32, n: int, among: NDArray[np.bool_] | None = None) -> tuple[I64, F32]:
        """The n documents of highest inner product, best first, and these products, about.

        Args:
            query: (n_dims,).
            among: (n_docs,) which documents may come back; None for all.
        """
        import faiss

        parameters: dict[str, Any] = {"nprobe": 1}
        if among is not None:
            bits = np.packbits(among, bitorder="little")
            parameters["sel"] = faiss.IDSelectorBitmap(bits)
        products, found = self._faiss.search(
            query[None], min(n, self.n_docs), params=faiss.SearchParametersIVF(**parameters)
        )
        n_found = int((found[0] >= 0).sum())
        return found[0, :n_found], products[0, :n_found]


def _quantizer(centroids: F32) -> Any:
    import faiss

    n_groups = len(centroids)
    quantizer = faiss.ProductQuantizer(n_groups * _GROUP, n_groups, 4)
    faiss.copy_array_to_vector(np.ascontiguousarray(centroids, np.float32).ravel(), quantizer.centroids)
    return quantizer
