"""Products of a few tokens with many fixed vectors, such as landmarks.

In integers, so that they are the same on every machine, and on the caller's thread: BLAS would wake its own.
"""

import numpy as np
from numba import njit

from colsearch_kernels.codes import QUERY_MAX, QuantizedQuery
from colsearch_kernels.emit import LANES, product_tile, read_f32, write_f32
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.integer import SMALL, TILE, VECTORS, arithmetic
from colsearch_kernels.packing import PackedQueries, Rows
from colsearch_kernels.unpack import signed_row

_large, _small = product_tile(arithmetic, TILE, VECTORS), product_tile(arithmetic, SMALL, VECTORS)
_large_one, _small_one = product_tile(arithmetic, TILE, 1), product_tile(arithmetic, SMALL, 1)
# Rows that a tile may read and write beyond those that were asked for.
_N_SPARE_ROWS = TILE


def packed_rows(others: QuantizedQuery) -> PackedQueries:
    """The tokens that `multiply` multiplies with, laid into lanes.

    Raises: KernelInputError: if the number of dims is no multiple of 4.
    """
    if others.padded_dim % 4:
        raise KernelInputError(f"products take whole 32-bit words of dims, not {others.padded_dim}")
    return PackedQueries([others], Rows.of_bytes(others.values, others.scales, np.zeros(1, np.int64)))


@njit(nogil=True, error_model="numpy")
def split(weights, values, scales):  # type: ignore[no-untyped-def]
    """values[0] * scales[0] + values[1] * scales[1] is about the weights: to a part in 8,000 of the largest."""
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


def scratch_bytes(n_tokens: int, n_dims: int) -> int:
    return (n_tokens + _N_SPARE_ROWS) * (n_dims + 4)


def products_shape(n_tokens: int, packed: PackedQueries) -> tuple[int, int]:
    """Of what `multiply` writes: tiles are whole."""
    return n_tokens + _N_SPARE_ROWS, LANES * packed.n_vectors


@njit(nogil=True, error_model="numpy")
def multiply(  # type: ignore[no-untyped-def]
    values, widths, n_tokens, n_dims, query, initial, scales, n_vectors, scratch, products
):  # fmt: skip
    """Products of n_tokens rows of signed bytes with the tokens in the lanes of n_vectors vectors.

    scratch: of scratch_bytes, zeros, aligned to 64 bytes; products: float32 of products_shape.
    """
    n_rows = n_tokens + _N_SPARE_ROWS
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
