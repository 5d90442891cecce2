"""Documents by their codes: FAISS's fast scan of the coarse ones, then the others of what it finds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import colsearch_kernels as kernels
from colsearch.prefilter.quantizer import (
    DocumentCodes,
    Quantizer,
    coarse_dims,
    coarse_faiss,
    stage_bytes,
)
from colsearch.types import F32, I64, U8

# Documents that FAISS finds by their coarse codes, for each that is wanted.
_FOUND = 3
# FAISS is asked for documents above a product: the n best of hundreds of thousands take it a third longer. The product
# is read off a sample of documents, so many for the root of their number.
_SAMPLE_PER_ROOT = 4
_SEED = 20260


class VectorIndex:
    """Documents, searched by inner product.

    In memory are FAISS's copy of the coarse codes, with 8 bytes a document for its number, and 16 for addresses.

    Args:
        codes: of each segment, one after another; memory maps of middle and fine codes stay on disk.

    Attributes:
        n_docs: of all segments, in the order of their codes.
    """

    def __init__(self, codes: Sequence[DocumentCodes], quantizer: Quantizer, n_dims: int) -> None:
        self.n_docs = n_docs = sum(len(part.coarse) for part in codes)
        self._n_coarse = coarse_dims(n_dims)
        n_bytes, n_middle, n_fine = stage_bytes(n_dims)
        self._middle = kernels.Lookups(
            [part.middle for part in codes], [np.stack([quantizer.middle] * (2 * n_middle))]
        )
        # As many fine codes as coarse ones are for the first dims.
        self._fine = kernels.Lookups(
            [part.fine for part in codes],
            [
                np.stack([quantizer.fine] * (2 * n_bytes)),
                np.stack([quantizer.others] * (2 * (n_fine - n_bytes))),
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
        """The n best of three times as many or so by their coarse codes, in the order of all codes, with their products.

        The coarse and middle codes say which n these are.

        Args:
            query: (n_dims,).
            among: (n_docs,) which documents may come back; None for all.
        """
        rows, products = self._found(query[: self._n_coarse], n, among)
        rows, products = self._middle.add_products_and_sort(rows, products, query[: self._n_coarse])
        return self._fine.add_products_and_sort(rows[:n], products[:n], query)

    def _found(self, coarse: F32, n: int, among: NDArray[np.bool_] | None) -> tuple[I64, F32]:
        """Three times n documents or so by coarse inner product, or all there are, in no order."""
        import faiss

        parameters: dict[str, Any] = {"nprobe": 1}
        if among is not None:
            bits = np.packbits(among, bitorder="little")
            parameters["sel"] = faiss.IDSelectorBitmap(bits)
        least = self._least(coarse, _FOUND * n, among)
        if least is not None:
            _, products, rows = self._faiss.range_search(
                coarse[None, :], least, params=faiss.SearchParametersIVF(**parameters)
            )
            # Others than expected where many documents are alike.
            if n <= len(rows) <= 2 * _FOUND * n:
                return rows, products
        n_wanted = min(_FOUND * n, self.n_docs if among is None else int(np.count_nonzero(among)))
        if not n_wanted:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        [products], [rows] = self._faiss.search(
            coarse[None, :], n_wanted, params=faiss.SearchParametersIVF(**parameters)
        )
        unseen = rows < 0
        if unseen.any():
            # FAISS passes over documents of the lowest product that there can be.
            others = np.ones(self.n_docs, bool) if among is None else among.copy()
            others[rows[~unseen]] = False
            rows[unseen] = np.flatnonzero(others)[: np.count_nonzero(unseen)]
            products[unseen] = self._lowest(coarse)
        return rows, products

    def _lowest(self, coarse: F32) -> float:
        of_codes = coarse.reshape(-1, self._centroids.shape[1]) @ self._centroids.T
        return float(of_codes.min(axis=1).sum())

    def _least(self, coarse: F32, n: int, among: NDArray[np.bool_] | None) -> float | None:
        """About the n-th best coarse inner product, read off the sample; None where that is most of it."""
        sampled = np.arange(len(self._sampled)) if among is None else np.flatnonzero(among[self._sampled])
        rank = n * len(self._sampled) // max(self.n_docs, 1)
        if 2 * rank >= len(sampled):
            return None
        _, products = self._sample.add_products_and_sort(sampled, np.zeros(len(sampled), np.float32), coarse)
        return float(products[rank])


def _fast_scan(codes: Sequence[U8], quantizer: Quantizer, n_dims: int) -> tuple[Any, Any]:
    """FAISS's index of coarse codes, and what has to live as long."""
    import faiss

    # One list: FAISS's plain fast scan takes no selector, its inverted one does.
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
    """Some rows at random, ascending."""
    n = min(int(_SAMPLE_PER_ROOT * n_docs**0.5), n_docs)
    return np.sort(np.random.default_rng(_SEED).choice(n_docs, n, replace=False, shuffle=False))
