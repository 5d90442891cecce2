"""Products of a few tokens with many fixed vectors, such as landmarks.

They are sums of integers, so that they are the same on every machine. They run on the caller's thread; BLAS would wake
threads of its own.
"""

import numpy as np

from colsearch_kernels.arguments import PackedQueries
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import QuantizedQuery
from colsearch_kernels.layout.packing import pack_queries
from colsearch_kernels.layout.token_layout import layout_of_bytes
from colsearch_kernels.runtime.tiers import VECTOR_BYTES, tier

# Rows that a tile may read and write beyond those that were asked for.
N_SPARE_ROWS = tier().tile


def pack_fixed_vectors(vectors: QuantizedQuery) -> PackedQueries:
    """Vectors that tokens are multiplied with, laid into lanes.

    Raises: KernelInputError: if the number of dims is no multiple of 4.
    """
    if vectors.padded_dim % 4:
        raise KernelInputError(f"products take whole 32-bit words of dims, not {vectors.padded_dim}")
    signed_bytes = layout_of_bytes(vectors.values, vectors.scales, np.zeros(1, np.int64))
    return pack_queries([vectors], signed_bytes.format)


def products_bytes(n_tokens: int, n_dims: int, n_vectors: int) -> int:
    """Bytes that multiplying n_tokens tokens of n_dims dims writes: products, unpacked rows and their widths."""
    n_rows = n_tokens + N_SPARE_ROWS
    row_bytes = VECTOR_BYTES * n_vectors + n_dims + 4
    return -(-n_rows * row_bytes // VECTOR_BYTES) * VECTOR_BYTES
