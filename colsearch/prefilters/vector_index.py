"""Documents by their codes: FAISS's fast scan of the coarse ones, then the fine ones of what it finds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import colsearch_kernels as kernels
from colsearch.prefilters.quantizer import Quantizer, coarse_bytes, coarse_dims, coarse_faiss
from colsearch.types import F32, I64, U8


class VectorIndex:
    """Documents, searched by inner product; in memory are FAISS's copy of the coarse codes and 8 bytes a document.

    Args:
        codes: (n, row_bytes) uint8 of each segment, one after another; memory maps stay on disk.

    Attributes:
        n_docs: of all segments, in the order of their codes.
    """

    def __init__(self, codes: Sequence[U8], quantizer: Quantizer, n_dims: int) -> None:
        import faiss

        n_coarse, n_bytes = coarse_dims(n_dims), coarse_bytes(n_dims)
        self._fine = kernels.Lookups([part[:, n_bytes:] for part in codes], quantizer.fine_centroids(n_dims))
        self.n_docs = n_docs = sum(len(part) for part in codes)
        # One list: FAISS's plain fast scan takes no selector, its inverted one does.
        self._coarse = faiss.IndexFlatIP(n_coarse)
        self._coarse.add(np.zeros((1, n_coarse), np.float32))
        product_quantizer = coarse_faiss(quantizer.coarse, n_dims)
        lists = faiss.IndexIVFPQ(
            self._coarse, n_coarse, 1, product_quantizer.M, 4, faiss.METRIC_INNER_PRODUCT
        )
        lists.by_residual = False
        lists.pq = product_quantizer
        lists.is_trained = True
        first = 0
        for part in codes:
            rows, ids = np.ascontiguousarray(part[:, :n_bytes]), np.arange(first, first + len(part))
            if len(part):
                lists.invlists.add_entries(0, len(part), faiss.swig_ptr(ids), faiss.swig_ptr(rows))
            first += len(part)
        lists.ntotal = n_docs
        self._faiss = faiss.IndexIVFPQFastScan(lists)
        # One query at a time, and a reservoir instead of a heap: 290 us instead of 430 for 1,200 of 30,000.
        self._faiss.implem = 13

    def search(self, query: F32, n: int, among: NDArray[np.bool_] | None = None) -> tuple[I64, F32]:
        """The n documents of highest coarse inner product, by their inner product: best first, with it.

        Args:
            query: (n_dims,).
            among: (n_docs,) which documents may come back; None for all.
        """
        import faiss

        parameters: dict[str, Any] = {"nprobe": 1}
        if among is not None:
            bits = np.packbits(among, bitorder="little")
            parameters["sel"] = faiss.IDSelectorBitmap(bits)
        coarse = query[None, : self._coarse.d]
        products, found = self._faiss.search(
            coarse, min(n, self.n_docs), params=faiss.SearchParametersIVF(**parameters)
        )
        n_found = int((found[0] >= 0).sum())
        return self._fine.best_first(found[0, :n_found], products[0, :n_found], query)
