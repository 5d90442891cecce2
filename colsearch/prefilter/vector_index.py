"""Search over document codes: FAISS scans the coarse codes, then finer codes order the documents that it found."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import colsearch_kernels as kernels
from colsearch.config import DEFAULT_SEED
from colsearch.prefilter.quantizer import (
    DocumentCodes,
    Quantizer,
    coarse_dims,
    coarse_faiss,
    stage_bytes,
)
from colsearch.types import F32, I64, U8

# FAISS is asked for this many times as many documents as are wanted.
_OVERFETCH = 3
# A range search takes FAISS two thirds of the time of a search for the n best of hundreds of thousands. Its threshold
# is estimated from a sample of 4 * sqrt(n_docs) documents.
_SAMPLE_PER_ROOT = 4


class VectorIndex:
    """Documents of several segments, searched by inner product; a row is a document's place in all of them.

    In memory: FAISS's copy of the coarse codes with 8 bytes per document for its row, and 16 bytes of addresses.

    Args:
        codes: document codes of each segment; memory-mapped middle and fine codes stay on disk.

    Attributes:
        n_docs: documents of all segments.
    """

    def __init__(self, codes: Sequence[DocumentCodes], quantizer: Quantizer, n_dims: int) -> None:
        self.n_docs = n_docs = sum(len(part.coarse) for part in codes)
        self._n_coarse = coarse_dims(n_dims)
        n_bytes, n_middle, n_fine = stage_bytes(n_dims)
        self._middle = kernels.Lookups(
            [part.middle for part in codes], [np.stack([quantizer.middle] * (2 * n_middle))]
        )
        # The first fine codes, as many as there are coarse ones, are for the first dims; the rest for the tail dims.
        self._fine = kernels.Lookups(
            [part.fine for part in codes],
            [
                np.stack([quantizer.fine] * (2 * n_bytes)),
                np.stack([quantizer.tail] * (2 * (n_fine - n_bytes))),
            ],
        )
        self._faiss, self._one_list = _fast_scan([part.coarse for part in codes], quantizer, n_dims)
        self._centroids = quantizer.coarse
        self._sampled = _sample(n_docs)
        starts = np.cumsum([0, *(len(part.coarse) for part in codes)])
        of_parts = np.split(self._sampled, np.searchsorted(self._sampled, starts[1:-1]))
        self._sample = kernels.Lookups(
            [part.coarse[rows - start] for part, rows, start in zip(codes, of_parts, starts)],
            [np.stack([quantizer.coarse] * (2 * n_bytes))],
        )

    def search(self, query: F32, n: int, among: NDArray[np.bool_] | None = None) -> tuple[I64, F32]:
        """Rows and inner products of the n best documents, best first.

        FAISS finds about three times as many by coarse codes. Middle codes choose n of these, fine codes order them.

        Args:
            query: (n_dims,) float32.
            among: (n_docs,) bool, the documents that may be returned; None for all.
        """
        rows, products = self._coarse_search(query[: self._n_coarse], n, among)
        rows, products = self._middle.add_products_and_sort(rows, products, query[: self._n_coarse])
        return self._fine.add_products_and_sort(rows[:n], products[:n], query)

    def _coarse_search(self, coarse: F32, n: int, among: NDArray[np.bool_] | None) -> tuple[I64, F32]:
        """About `_OVERFETCH` * n documents by coarse codes, or all there are, in no order."""
        import faiss

        parameters: dict[str, Any] = {"nprobe": 1}
        if among is not None:
            bits = np.packbits(among, bitorder="little")
            parameters["sel"] = faiss.IDSelectorBitmap(bits)
        threshold = self._threshold(coarse, _OVERFETCH * n, among)
        if threshold is not None:
            _, products, rows = self._faiss.range_search(
                coarse[None, :], threshold, params=faiss.SearchParametersIVF(**parameters)
            )
            # Where many documents are alike, the sample may have misjudged the threshold.
            if n <= len(rows) <= 2 * _OVERFETCH * n:
                return rows, products
        n_wanted = min(_OVERFETCH * n, self.n_docs if among is None else int(np.count_nonzero(among)))
        if not n_wanted:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        [products], [rows] = self._faiss.search(
            coarse[None, :], n_wanted, params=faiss.SearchParametersIVF(**parameters)
        )
        unseen = rows < 0
        if unseen.any():
            # FAISS never returns documents that have the lowest possible product.
            rest = np.ones(self.n_docs, bool) if among is None else among.copy()
            rest[rows[~unseen]] = False
            rows[unseen] = np.flatnonzero(rest)[: np.count_nonzero(unseen)]
            products[unseen] = self._lowest_product(coarse)
        return rows, products

    def _lowest_product(self, coarse: F32) -> float:
        products = coarse.reshape(-1, self._centroids.shape[1]) @ self._centroids.T
        return float(products.min(axis=1).sum())

    def _threshold(self, coarse: F32, n: int, among: NDArray[np.bool_] | None) -> float | None:
        """The n-th best coarse inner product, estimated from the sample; None if that is most of the sample."""
        sampled = np.arange(len(self._sampled)) if among is None else np.flatnonzero(among[self._sampled])
        rank = n * len(self._sampled) // max(self.n_docs, 1)
        if 2 * rank >= len(sampled):
            return None
        _, products = self._sample.add_products_and_sort(sampled, np.zeros(len(sampled), np.float32), coarse)
        return float(products[rank])


def _fast_scan(codes: Sequence[U8], quantizer: Quantizer, n_dims: int) -> tuple[Any, Any]:
    """FAISS's index of coarse codes, and the object that it refers to and that must live as long."""
    import faiss

    # An inverted index with a single list, because FAISS's plain fast scan takes no selector.
    n_coarse = coarse_dims(n_dims)
    one_list = faiss.IndexFlatIP(n_coarse)
    one_list.add(np.zeros((1, n_coarse), np.float32))
    product_quantizer = coarse_faiss(quantizer.coarse, n_dims)
    lists = faiss.IndexIVFPQ(one_list, n_coarse, 1, product_quantizer.M, 4, faiss.METRIC_INNER_PRODUCT)
    lists.by_residual = False
    lists.pq = product_quantizer
    lists.is_trained = True
    for part in codes:
        if len(part):
            rows, ids = np.ascontiguousarray(part), np.arange(lists.ntotal, lists.ntotal + len(part))
            lists.invlists.add_entries(0, len(part), faiss.swig_ptr(ids), faiss.swig_ptr(rows))
            lists.ntotal += len(part)
    return faiss.IndexIVFPQFastScan(lists), one_list


def _sample(n_docs: int) -> I64:
    """Random rows, ascending."""
    n = min(int(_SAMPLE_PER_ROOT * n_docs**0.5), n_docs)
    return np.sort(np.random.default_rng(DEFAULT_SEED).choice(n_docs, n, replace=False, shuffle=False))
