"""Products of a few tokens with many fixed vectors, such as landmarks.

In integers, so that they are the same on every machine, and on the caller's thread: BLAS would wake its own.
"""

import numpy as np

from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import QuantizedQuery
from colsearch_kernels.layout.packing import PackedQueries, Rows
from colsearch_kernels.runtime.tiers import LANES, tier

# Rows that a tile may read and write beyond those that were asked for.
N_SPARE_ROWS = tier().tile


def packed_rows(others: QuantizedQuery) -> PackedQueries:
    """The tokens that tokens are multiplied with, laid into lanes.

    Raises: KernelInputError: if the number of dims is no multiple of 4.
    """
    if others.padded_dim % 4:
        raise KernelInputError(f"products take whole 32-bit words of dims, not {others.padded_dim}")
    return PackedQueries([others], Rows.of_bytes(others.values, others.scales, np.zeros(1, np.int64)))


def scratch_bytes(n_tokens: int, n_dims: int) -> int:
    return (n_tokens + N_SPARE_ROWS) * (n_dims + 4)


def products_shape(n_tokens: int, packed: PackedQueries) -> tuple[int, int]:
    """Of the products: tiles are whole."""
    return n_tokens + N_SPARE_ROWS, LANES * packed.n_vectors
