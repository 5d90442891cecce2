"""Products of a few tokens with many fixed vectors, see products.py of the package."""

import numpy as np

from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import f32_row, i8_row, product_tile, read_f32, write_f32
from colsearch_kernels.compiled.integer import SMALL, TILE, VECTORS, arithmetic
from colsearch_kernels.compiled.unpack import signed_row
from colsearch_kernels.layout.codes import QUERY_MAX
from colsearch_kernels.prefilter.products import N_SPARE_ROWS

_large, _small = product_tile(arithmetic, TILE, VECTORS), product_tile(arithmetic, SMALL, VECTORS)
_large_one, _small_one = product_tile(arithmetic, TILE, 1), product_tile(arithmetic, SMALL, 1)


@subroutine
def split(weights_at, n, values_at, scales):
    """values[0] * scales[0] + values[1] * scales[1] is about n weights: to a part in 8,000 of the largest.

    values: (2, n) int8.
    """
    weights, coarse, rest = f32_row(weights_at, n), i8_row(values_at, n), i8_row(values_at + n, n)
    grid = np.float32(QUERY_MAX)
    largest = np.float32(1e-30)
    for i in range(n):
        largest = max(largest, abs(weights[i]))
    scale = largest / grid
    fine = scale / (np.float32(2) * grid)
    write_f32(scales, 0, scale)
    write_f32(scales, 1, fine)
    for i in range(n):
        high = np.rint(weights[i] / scale)
        low = np.rint((weights[i] - high * scale) / fine)
        coarse[i] = np.int8(min(max(high, -grid), grid))
        rest[i] = np.int8(min(max(low, -grid), grid))


@subroutine
def multiply(
    values, widths, n_tokens, n_dims, query, initial, scales, n_vectors, scratch, products
):  # fmt: skip
    """Products of n_tokens rows of signed bytes with the tokens in the lanes of n_vectors vectors.

    scratch: of scratch_bytes, zeros, aligned to 64 bytes; products: float32 of products_shape.
    """
    n_rows = n_tokens + N_SPARE_ROWS
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
