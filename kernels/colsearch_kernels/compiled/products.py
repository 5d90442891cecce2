"""Products of a few tokens with many fixed vectors, such as landmarks.

They are sums of integers, so that they are the same on every machine. They run on the caller's thread; BLAS would wake
threads of its own.
"""

import numpy as np

from colsearch_kernels.arguments import PackedQueries
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import Address, f32_row, i8_row, product_tile, read_f32, write_f32
from colsearch_kernels.compiled.integer import SMALL, TILE, VECTORS, arithmetic
from colsearch_kernels.compiled.unpack import signed_row
from colsearch_kernels.layout.codes import QUERY_MAX
from colsearch_kernels.layout.packing import N_SPARE_ROWS
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES

_large, _small = product_tile(arithmetic, TILE, VECTORS), product_tile(arithmetic, SMALL, VECTORS)
_large_one, _small_one = product_tile(arithmetic, TILE, 1), product_tile(arithmetic, SMALL, 1)


@subroutine
def split(weights_at: Address, n: int, values_at: Address, scales: Address) -> None:
    """Write n weights as values[0] * scales[0] + values[1] * scales[1], to a part in 8,000 of the largest.

    weights: (n,) float32; values: (2, n) int8; scales: (2,) float32.
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
    values: Address, widths: Address, n_tokens: int, n_dims: int, queries: PackedQueries, memory: Address
) -> Address:
    """Products of n_tokens rows of signed bytes with the tokens in lanes: the address of (n_tokens, products_length).

    memory: zeros, `products_bytes` of them, aligned to VECTOR_BYTES.
    """
    n_vectors = queries.n_vectors
    initial, scales = queries.memory + queries.initial, queries.memory + queries.scales
    n_rows = n_tokens + N_SPARE_ROWS
    products = memory
    row_bytes = VECTOR_BYTES * n_vectors
    unpacked = products + n_rows * row_bytes
    tile_widths = unpacked + n_rows * n_dims
    for i in range(n_tokens):
        signed_row(values + i * n_dims, n_dims, unpacked + i * n_dims)
        # Tiles add up twice the products, see `TokenFormat.center`.
        write_f32(tile_widths, i, read_f32(widths, i) * np.float32(0.5))
    v = 0
    while v < n_vectors:
        n = VECTORS if v + VECTORS <= n_vectors else 1
        at = queries.memory + v * LANES * n_dims
        initial_at, scales_at = initial + VECTOR_BYTES * v, scales + VECTOR_BYTES * v
        first = 0
        while first < n_tokens:
            rows, to = unpacked + first * n_dims, products + first * row_bytes + VECTOR_BYTES * v
            widths_at = tile_widths + 4 * first
            if n_tokens - first <= TILE - SMALL:
                if n == VECTORS:
                    _small(rows, n_dims, n_dims // 4, at, initial_at, widths_at, scales_at, to, row_bytes)
                else:
                    _small_one(rows, n_dims, n_dims // 4, at, initial_at, widths_at, scales_at, to, row_bytes)
                first += SMALL
            else:
                if n == VECTORS:
                    _large(rows, n_dims, n_dims // 4, at, initial_at, widths_at, scales_at, to, row_bytes)
                else:
                    _large_one(rows, n_dims, n_dims // 4, at, initial_at, widths_at, scales_at, to, row_bytes)
                first += TILE
        v += n
    return products
