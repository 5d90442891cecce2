"""MaxSim over int8 vectors with a scale per token, for people who have no codes of ours."""

import numpy as np
from numba import types

from colsearch_kernels.codes import F32, I8, I64, MAX_PADDED_DIM, QUERY_MAX, QuantizedQuery, address
from colsearch_kernels.emit import read_f32, read_i32, write_f32, write_i32, writer
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.floats import checked_offsets
from colsearch_kernels.jit import kernel
from colsearch_kernels.packing import Rows
from colsearch_kernels.scoring import score_rows

write_i8 = writer(8, types.int8)


def maxsim_int8(query: F32, vectors: I8, scales: F32, doclens: I64, *, n_threads: int = 1) -> F32:
    """MaxSim of a float query, put on a 7-bit grid, against int8 documents; the same bits on every machine.

    Args:
        query: (n_query_tokens, dim) float32.
        vectors: (n_tokens, dim) int8, the documents' tokens end to end.
        scales: (n_tokens,) float32 >= 0; a token stands for vectors * scales[:, None].
        doclens: (n_docs,) int64 tokens per document; sums to n_tokens.
    Returns: (n_docs,) float32; -inf without tokens.
    Raises: KernelInputError.
    Oracle: reference.maxsim_int8, equal to the bit.
    """
    _check(vectors, np.int8, 2, "vectors")
    _check(scales, np.float32, 1, "scales")
    _check(query, np.float32, 2, "query")
    dim = vectors.shape[1]
    if len(scales) != len(vectors) or not 1 <= dim <= MAX_PADDED_DIM or query.shape[1] != dim:
        raise KernelInputError(
            f"query {query.shape}, vectors {vectors.shape} and scales {scales.shape} do not fit together"
        )
    offsets = checked_offsets(doclens, len(vectors))
    rows = Rows.of_bytes(vectors, scales, offsets)
    [scores] = score_rows([_on_grid(query, rows.n_dims)], rows, offsets, ordinals=None, n_threads=n_threads)
    return np.asarray(scores)


def _check(array: object, dtype: type, ndim: int, name: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != ndim:
        found = f"{array.ndim}-d {array.dtype.str}" if isinstance(array, np.ndarray) else type(array).__name__
        raise KernelInputError(f"{name}: need a {ndim}-d {np.dtype(dtype).name} array, found {found}")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise KernelInputError(
            f"{name}: need C-contiguous, aligned memory; pass np.require(array, requirements='CA')"
        )


def _on_grid(query: F32, n_dims: int) -> QuantizedQuery:
    """What `reference.quantize_query` gives for the query with zeros up to n_dims, in a twentieth of its time."""
    values = np.empty((len(query), n_dims), np.int8)
    scales = np.empty(len(query), np.float32)
    if not _put_on_grid(  # type: ignore[no-untyped-call]
        address(query), len(query), query.shape[1], n_dims, address(values), address(scales)
    ):
        raise KernelInputError("the query holds NaN or infinity")
    return QuantizedQuery.made(values, scales)


@kernel
def _put_on_grid(query, n_query_tokens, dim, n_dims, values, scales):  # type: ignore[no-untyped-def]
    """1, or 0 if a number of the query is not finite; arguments are numbers and addresses."""
    grid = np.float32(QUERY_MAX)
    for i in range(n_query_tokens):
        token, to = query + 4 * dim * i, values + n_dims * i
        # As integers, the bits of numbers without sign are in the order of the numbers.
        largest = np.int32(0)
        for j in range(dim):
            largest = max(largest, np.int32(read_i32(token, j) & np.int32(0x7FFFFFFF)))
        if largest >= 0x7F800000:
            return 0
        write_i32(scales, i, largest)
        scale = read_f32(scales, i) / grid
        write_f32(scales, i, scale)
        # A token whose scale underflows to zero counts for nothing.
        divisor = scale if scale > 0 else np.float32(np.inf)
        for j in range(dim):
            write_i8(to, j, np.int8(min(max(np.rint(read_f32(token, j) / divisor), -grid), grid)))
        for j in range(dim, n_dims):
            write_i8(to, j, np.int8(0))
    return 1
