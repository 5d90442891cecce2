"""Queries laid into SIMD lanes, and the memory that kernels write to."""

from collections.abc import Sequence
from ctypes import c_size_t as _Pointer
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels.arguments import U8, PackedQueries, TokenFormat
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import QuantizedQuery
from colsearch_kernels.layout.token_layout import layout_of_bytes
from colsearch_kernels.runtime.entry import OBJECT_HEAD_BYTES
from colsearch_kernels.runtime.kernel import kernel
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES, tier

if TYPE_CHECKING:
    from colsearch_kernels.compiled.integer import pack_query
else:
    pack_query = kernel("integer.pack_query", globals())

# Rows that a tile of products may read and write beyond those that were asked for.
N_SPARE_ROWS = tier().tile


def pack_queries(queries: Sequence[QuantizedQuery], token_format: TokenFormat) -> PackedQueries:
    """Queries as the tiles read them, to be multiplied with rows of this format."""
    n_dims = token_format.n_dims
    n_vectors = sum([-(len(query.values) // -LANES) for query in queries])
    initial = n_vectors * LANES * n_dims
    scales = initial + VECTOR_BYTES * n_vectors
    starts = scales + VECTOR_BYTES * n_vectors
    scratch = starts + -(-8 * (len(queries) + 1) // VECTOR_BYTES) * VECTOR_BYTES
    memory = aligned_block(scratch + scratch_bytes(n_dims, n_vectors))
    packed = PackedQueries(memory, initial, scales, starts, scratch, len(queries), n_vectors)
    first_vector = 0
    for i, query in enumerate(queries):
        first_vector = pack_query(
            query.values, query.scales, len(query.values), token_format, packed, i, first_vector
        )
    return packed


def pack_fixed_vectors(vectors: QuantizedQuery) -> PackedQueries:
    """Vectors, such as landmarks, that tokens are multiplied with, laid into lanes.

    Raises: KernelInputError: if the number of dims is no multiple of 4.
    """
    if vectors.padded_dim % 4:
        raise KernelInputError(f"products take whole 32-bit words of dims, not {vectors.padded_dim}")
    tokens = layout_of_bytes(vectors.values, vectors.scales, np.zeros(1, np.int64))
    return pack_queries([vectors], tokens.format)


def products_bytes(n_tokens: int, n_dims: int, n_vectors: int) -> int:
    """Bytes that multiplying n_tokens tokens with fixed vectors writes: products, unpacked rows and their widths."""
    n_rows = n_tokens + N_SPARE_ROWS
    row_bytes = VECTOR_BYTES * n_vectors + n_dims + 4
    return -(-n_rows * row_bytes // VECTOR_BYTES) * VECTOR_BYTES


def address(array: NDArray[Any]) -> int:
    """The address of an array's first byte, in a tenth of the time of `array.ctypes.data`.

    Args:
        array: must be an array; nothing checks it.
    """
    # The data pointer follows the head that all objects have, see compiled/entry.py.
    return _Pointer.from_address(id(array) + OBJECT_HEAD_BYTES).value


def aligned_block(n_bytes: int, *, zeroed: bool = False) -> U8:
    """(n_bytes,) uint8 that begins at a multiple of VECTOR_BYTES, with undefined content unless zeroed."""
    memory = (np.zeros if zeroed else np.empty)(n_bytes + VECTOR_BYTES - 1, np.uint8)
    start = -address(memory) % VECTOR_BYTES
    return memory[start : start + n_bytes]


def scratch_bytes(n_dims: int, n_vectors: int) -> int:
    """Bytes that a kernel over codes writes to: the maxima, and the widths and rows of one tile."""
    return VECTOR_BYTES * (n_vectors + 1) + tier().tile * n_dims


def scratch_block(n_dims: int, n_vectors: int) -> U8:
    """Memory for one thread of a kernel over codes."""
    return aligned_block(scratch_bytes(n_dims, n_vectors))
