"""Products of a few tokens with many fixed vectors, on the caller's thread: BLAS would wake its own threads."""

import numpy as np

from colsearch_kernels.codes import F32, I8, QUERY_MAX, QuantizedQuery, address
from colsearch_kernels.emit import LANES, product_tile, read_f32, write_f32
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.integer import SMALL, TILE, VECTORS, arithmetic
from colsearch_kernels.jit import kernel
from colsearch_kernels.packing import PackedQueries, Rows, aligned_block
from colsearch_kernels.unpack import signed_row

_large, _small = product_tile(arithmetic, TILE, VECTORS), product_tile(arithmetic, SMALL, VECTORS)
_large_one, _small_one = product_tile(arithmetic, TILE, 1), product_tile(arithmetic, SMALL, 1)


class DotProducts:
    """Dot products of quantized tokens with a fixed set of others, such as landmarks.

    In integers, so that they are the same on every machine. `len` is the number of the others.

    Raises: KernelInputError: if the number of dims is no multiple of 4.
    """

    def __init__(self, others: QuantizedQuery) -> None:
        if others.padded_dim % 4:
            raise KernelInputError(f"products take whole 32-bit words of dims, not {others.padded_dim}")
        self._others = others
        rows = Rows.of_bytes(others.values, others.scales, np.zeros(1, np.int64))
        self._packed = PackedQueries([others], rows)

    def __len__(self) -> int:
        return len(self._others)

    def of(self, tokens: QuantizedQuery) -> F32:
        """(n_tokens, n_others) float32.

        Raises: KernelInputError: if the tokens have another number of dims.
        """
        if tokens.padded_dim != self._others.padded_dim:
            raise KernelInputError(
                f"tokens of padded dim {tokens.padded_dim} have no product with others of "
                f"{self._others.padded_dim}"
            )
        values, scales = tokens.addresses
        return self._multiply(values, scales, len(tokens))

    def weighted_sum(self, weights: F32) -> F32:
        """(n_others,) float32: products of the others with a vector of weights, to about a part in 8,000 of the largest.

        Args:
            weights: (padded_dim,) float32; they go on a 7-bit grid, and what is left of them on a finer one.
        Raises: KernelInputError: also for NaN and infinity.
        """
        n_dims = self._others.padded_dim
        if weights.dtype != np.float32 or weights.shape != (n_dims,) or not np.isfinite(weights).all():
            raise KernelInputError(
                f"weights must be finite float32 ({n_dims},), not {weights.dtype} {weights.shape}"
            )
        values, scales = np.empty((2, n_dims), np.int8), np.empty(2, np.float32)
        # One signature is compiled, of arrays that may be written.
        _split(np.require(weights, requirements=["C", "W"]), values, scales)
        both: F32 = self._multiply(address(values), address(scales), 2)
        total: F32 = both[0] + both[1]
        return total

    def _multiply(self, values: int, scales: int, n: int) -> F32:
        """(n, n_others) float32 products with n rows of bytes at an address."""
        packed, n_dims = self._packed, self._others.padded_dim
        # Tiles are whole: what they write beyond the rows and the others is cut off.
        n_rows = n + TILE
        products = np.empty((n_rows, LANES * packed.n_vectors), np.float32)
        _memory, scratch = aligned_block(n_rows * (n_dims + 4), zeroed=True)
        _products(  # type: ignore[no-untyped-call]
            values, scales, n, n_dims, packed.values, packed.initial, packed.scales, packed.n_vectors,
            scratch, n_rows, address(products),
        )  # fmt: skip
        return products[:n, : len(self)]


@kernel
def _split(weights: F32, values: I8, scales: F32) -> None:
    """values[0] * scales[0] + values[1] * scales[1] is about the weights."""
    grid, least = np.float32(QUERY_MAX), np.float32(1e-30)
    largest = least
    for i in range(weights.shape[0]):
        largest = max(largest, abs(weights[i]))
    scale = largest / grid
    fine = scale / (np.float32(2) * grid)
    scales[0], scales[1] = scale, fine
    for i in range(weights.shape[0]):
        high = np.rint(weights[i] / scale)
        low = np.rint((weights[i] - high * scale) / fine)
        values[0, i] = np.int8(min(max(high, -grid), grid))
        values[1, i] = np.int8(min(max(low, -grid), grid))


@kernel
def _products(  # type: ignore[no-untyped-def]
    values, widths, n_tokens, n_dims, query, initial, scales, n_vectors, scratch, n_rows, products
):  # fmt: skip
    """Products of n_tokens rows of signed bytes with the tokens in the lanes of n_vectors vectors.

    scratch: zeros, for n_rows rows of n_dims bytes and their widths; products: (n_rows, 16 * n_vectors) float32.
    """
    tile_widths = scratch + n_rows * n_dims
    for i in range(n_tokens):
        signed_row(values + i * n_dims, n_dims, scratch + i * n_dims)
        # Tiles add up twice the products, see packing.py.
        write_f32(tile_widths, i, read_f32(widths, i) * np.float32(0.5))
    products_bytes = 64 * n_vectors
    v = 0
    while v < n_vectors:
        n = VECTORS if v + VECTORS <= n_vectors else 1
        at, initial_at, scales_at = query + v * 16 * n_dims, initial + 64 * v, scales + 64 * v
        first = 0
        while first < n_tokens:
            rows, to = scratch + first * n_dims, products + first * products_bytes + 64 * v
            some = tile_widths + 4 * first
            if n_tokens - first <= TILE - SMALL:
                if n == VECTORS:
                    _small(rows, n_dims, n_dims // 4, at, initial_at, some, scales_at, to, products_bytes)
                else:
                    _small_one(rows, n_dims, n_dims // 4, at, initial_at, some, scales_at, to, products_bytes)
                first += SMALL
            else:
                if n == VECTORS:
                    _large(rows, n_dims, n_dims // 4, at, initial_at, some, scales_at, to, products_bytes)
                else:
                    _large_one(rows, n_dims, n_dims // 4, at, initial_at, some, scales_at, to, products_bytes)
                first += TILE
        v += n
