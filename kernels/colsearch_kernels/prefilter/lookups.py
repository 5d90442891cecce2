"""Inner products of a query with some rows of product-quantized vectors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from colsearch_kernels.arguments import CENTROIDS_PER_CODE, F32, I64, U8, CodeTable
from colsearch_kernels.checks import outside
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.packing import address
from colsearch_kernels.runtime.kernel import kernel
from colsearch_kernels.runtime.tiers import VECTOR_BYTES

if TYPE_CHECKING:
    from colsearch_kernels.compiled.lookups import look_up
    from colsearch_kernels.compiled.ordering import take_by_keys
else:
    look_up = kernel("lookups.look_up", globals())
    take_by_keys = kernel("ordering.take_by_keys", globals())


class Lookups:
    """Rows of 4-bit codes in several arrays, numbered one array after another; takes 8 bytes of memory per row.

    Args:
        parts: (n_rows, n_bytes) uint8 each, two codes a byte, the low half first; whole 32-bit words a row. The bytes
            of a row lie end to end; rows may lie apart, and in a memory map.
        centroids: (n_codes, 16, n) float32 for the first codes of a row, then for the next ones, and so on: for each
            code and value the n numbers that it stands for.
    Raises: KernelInputError.
    """

    def __init__(self, parts: Sequence[U8], centroids: Sequence[F32]) -> None:
        n_bytes = _checked_row_bytes(parts)
        _check_centroids(centroids, 2 * n_bytes)
        self.n_dims = sum(len(group) * group.shape[2] for group in centroids)
        # Keeps the memory of the addresses alive.
        self._parts = tuple(parts)
        addresses = np.concatenate([address(part) + np.arange(len(part)) * part.strides[0] for part in parts])
        # The first numbers of a code's 16 values side by side, then the second numbers, and so on.
        flat = np.concatenate([group.transpose(0, 2, 1).ravel() for group in centroids])
        groups = np.array([(len(group), group.shape[2]) for group in centroids], np.int64)
        self._codes = CodeTable(addresses, len(addresses), n_bytes // 4, flat, groups, len(groups))

    def __len__(self) -> int:
        return self._codes.n_rows

    def add_products_and_sort(self, rows: I64, products: F32, query: F32) -> tuple[I64, F32]:
        """Add the inner products of a query with rows to products that are already known, and sort: best first.

        Rows with equal sums keep their order.

        Args:
            rows: (n,) int64 numbers of rows.
            products: (n,) float32, the products of other dims, which are added.
            query: (n_dims,) float32.
        Returns: (n,) int64 and (n,) float32, the same bits on every instruction set.
        Raises: KernelInputError.
        Source: Jégou et al. 2011, asymmetric distance computation.
        """
        n = len(rows)
        if rows.dtype != np.int64 or rows.ndim != 1:
            raise KernelInputError(f"rows must be 1-d int64, not {rows.dtype} {rows.shape}")
        rows = np.ascontiguousarray(rows)
        for name, array, shape in (("products", products, (n,)), ("query", query, (self.n_dims,))):
            if array.dtype != np.float32 or array.shape != shape or not array.flags.c_contiguous:
                raise KernelInputError(
                    f"{name} must be contiguous float32 {shape}, not {array.dtype} {array.shape}"
                )
        keys, sorted_rows, sorted_products = (
            np.empty(n, np.int64),
            np.empty(n, np.int64),
            np.empty(n, np.float32),
        )
        scratch = np.empty(-(-self._scratch_bytes(n) // 8), np.int64)
        if not look_up(self._codes, query, rows, n, products, scratch, keys):
            raise outside(rows, len(self))
        # NumPy sorts with vector instructions, which loops compiled by Numba do not.
        keys.sort()
        take_by_keys(keys, n, rows, sorted_rows, sorted_products)
        return sorted_rows, sorted_products

    def _scratch_bytes(self, n: int) -> int:
        """Bytes that the kernel writes to: addresses and sums of n rows, LANES rows, and the table of each code."""
        n_words = self._codes.n_words
        table_bytes = 4 * CENTROIDS_PER_CODE
        return (8 + 4) * n + VECTOR_BYTES * n_words + 8 * n_words * table_bytes


def _checked_row_bytes(parts: Sequence[U8]) -> int:
    """Bytes of a row, if all parts are arrays of such rows."""
    widths = {part.shape[1] for part in parts if part.ndim == 2}
    if len(widths) != 1 or any(part.dtype != np.uint8 or part.ndim != 2 for part in parts):
        raise KernelInputError("codes must be 2-d uint8 arrays with rows of one length")
    [n_bytes] = widths
    if n_bytes % 4 or not n_bytes:
        raise KernelInputError(f"a row must be whole 32-bit words, not {n_bytes} bytes")
    if any(part.strides[1] != 1 for part in parts if len(part)):
        raise KernelInputError("the codes of a row must lie end to end")
    return int(n_bytes)


def _check_centroids(centroids: Sequence[F32], n_codes: int) -> None:
    for group in centroids:
        fits = group.dtype == np.float32 and group.ndim == 3 and group.shape[1] == CENTROIDS_PER_CODE
        if not fits or not group.shape[2]:
            raise KernelInputError(
                f"centroids must be float32 (n_codes, {CENTROIDS_PER_CODE}, n), not {group.dtype} {group.shape}"
            )
    n_found = sum(len(group) for group in centroids)
    if n_found != n_codes:
        raise KernelInputError(f"there are centroids of {n_found} codes, for {n_codes}")
