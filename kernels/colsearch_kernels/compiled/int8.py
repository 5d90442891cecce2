"""A float query on the grid of the integer kernels."""

import numpy as np

from colsearch_kernels.arguments import F32, I8
from colsearch_kernels.compiled.emit import f32_row, i8_row, i32_row, read_f32, write_f32, write_i32
from colsearch_kernels.layout.codes import QUERY_MAX


def quantize_query_int8(
    query: F32, n_query_tokens: int, dim: int, n_dims: int, values: I8, scales: F32
) -> int:
    """Put each token on the grid -63..63; 0 if a number of the query is not finite, else 1.

    query: (n_query_tokens, dim) float32; values: (n_query_tokens, n_dims) int8, zeros from dim on; scales:
    (n_query_tokens,) float32.
    """
    grid = np.float32(QUERY_MAX)
    for i in range(n_query_tokens):
        at = query + 4 * dim * i
        token, bits, row = f32_row(at, dim), i32_row(at, dim), i8_row(values + n_dims * i, n_dims)
        # As integers, the bits of numbers without sign are in the order of the numbers.
        largest = np.int32(0)
        for j in range(dim):
            largest = max(largest, np.int32(bits[j] & np.int32(0x7FFFFFFF)))
        if largest >= 0x7F800000:
            return 0
        write_i32(scales, i, largest)
        scale = read_f32(scales, i) / grid
        write_f32(scales, i, scale)
        # A token whose scale underflows to zero counts for nothing.
        divisor = scale if scale > 0 else np.float32(np.inf)
        for j in range(dim):
            row[j] = np.int8(min(max(np.rint(token[j] / divisor), -grid), grid))
        for j in range(dim, n_dims):
            row[j] = np.int8(0)
    return 1
