"""Inner products with product-quantized vectors, of a few scattered ones."""

from collections.abc import Sequence

import numpy as np

from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import F32, I64, U8, address
from colsearch_kernels.runtime.native import Kernel
from colsearch_kernels.runtime.tiers import LANES
from colsearch_kernels.scoring.codes import checked_ordinals

_fill_tables, _look_up = Kernel("lookups.fill_tables"), Kernel("lookups.look_up")
_take_by_keys = Kernel("ordering.take_by_keys")


class Lookups:
    """Rows of 4-bit codes in several arrays, numbered one array after another; 8 bytes of address a row.

    Args:
        parts: (n_rows, n_bytes) uint8 each, two codes a byte, the low half first; whole 32-bit words a row. Each
            row lies end to end; rows may lie apart, and in a memory map.
        centroids: (n_codes, 16, n) float32 for the first codes of a row, then for the next ones, and so on: for each
            code and value the n numbers that it stands for.
    Raises: KernelInputError.
    """

    def __init__(self, parts: Sequence[U8], centroids: Sequence[F32]) -> None:
        widths = {part.shape[1] for part in parts if part.ndim == 2}
        if len(widths) != 1 or any(part.dtype != np.uint8 or part.ndim != 2 for part in parts):
            raise KernelInputError("codes must be 2-d uint8 arrays with rows of one length")
        self.n_bytes = widths.pop()
        if self.n_bytes % 4 or not self.n_bytes:
            raise KernelInputError(f"a row must be whole 32-bit words, not {self.n_bytes} bytes")
        if any(part.strides[1] != 1 for part in parts if len(part)):
            raise KernelInputError("the codes of a row must lie end to end")
        for some in centroids:
            if some.dtype != np.float32 or some.ndim != 3 or some.shape[1] != 16 or not some.shape[2]:
                raise KernelInputError(
                    f"centroids must be float32 (n_codes, 16, n), not {some.dtype} {some.shape}"
                )
        n_codes = sum(len(some) for some in centroids)
        if n_codes != 2 * self.n_bytes:
            raise KernelInputError(f"there are centroids of {n_codes} codes, for {2 * self.n_bytes}")
        self.n_dims = sum(len(some) * some.shape[2] for some in centroids)
        # Keeps the memory of the addresses alive.
        self._parts = tuple(parts)
        self._addresses = np.concatenate(
            [address(part) + np.arange(len(part)) * part.strides[0] for part in parts]
        )
        # The first numbers of a code's 16 values side by side, then the second ones, and so on.
        self._centroids = [np.array(some.transpose(0, 2, 1), order="C") for some in centroids]

    def __len__(self) -> int:
        return len(self._addresses)

    def best_first(self, rows: I64, products: F32, query: F32) -> tuple[I64, F32]:
        """Rows by products with a query, of which a part is known: best first, of equals the first first.

        Args:
            rows: (n,) int64 numbers of rows.
            products: (n,) float32; the inner product of the query with what a row's codes stand for is added.
            query: (n_dims,) float32.
        Returns: (n,) int64 and (n,) float32, the same bits on every instruction set.
        Raises: KernelInputError.
        Source: Jégou et al. 2011, asymmetric distance computation.
        """
        rows = np.ascontiguousarray(checked_ordinals(rows, len(self)))
        n = len(rows)
        for name, array, shape in (("products", products, (n,)), ("query", query, (self.n_dims,))):
            if array.dtype != np.float32 or array.shape != shape or not array.flags.c_contiguous:
                raise KernelInputError(
                    f"{name} must be contiguous float32 {shape}, not {array.dtype} {array.shape}"
                )
        keys, found, sums = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.float32)
        tables = np.empty((2 * self.n_bytes, 16), np.float32)
        words = np.empty((self.n_bytes // 4, LANES), np.int32)
        dim, table = address(query), address(tables)
        for some in self._centroids:
            n_codes, dims_per_code, _ = some.shape
            _fill_tables(dim, address(some), n_codes, dims_per_code, table)
            dim, table = dim + 4 * n_codes * dims_per_code, table + 64 * n_codes
        _look_up(
            address(self._addresses), address(rows), n, self.n_bytes // 4, address(products), address(tables),
            address(words), address(found), address(sums), address(keys),
        )  # fmt: skip
        # NumPy sorts in lanes, which compiled loops do not.
        keys.sort()
        _take_by_keys(address(keys), n, address(rows), address(found), address(sums))
        return found, sums
