"""MaxSim over int8 vectors with a scale per token, for callers whose vectors are not our codes."""

from typing import TYPE_CHECKING

import numpy as np

from colsearch_kernels.arguments import F32, I8, I64, MAX_PADDED_DIM
from colsearch_kernels.checks import checked_array
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import QuantizedQuery
from colsearch_kernels.layout.token_layout import layout_of_bytes
from colsearch_kernels.runtime.kernel import kernel
from colsearch_kernels.scoring.maxsim_codes import score_segment
from colsearch_kernels.scoring.maxsim_floats import checked_offsets

if TYPE_CHECKING:
    from colsearch_kernels.compiled.int8 import quantize_query_int8
else:
    quantize_query_int8 = kernel("int8.quantize_query_int8", globals())


def maxsim_int8(query: F32, vectors: I8, scales: F32, doclens: I64, *, n_threads: int = 1) -> F32:
    """MaxSim of a float query, put on a 7-bit grid, against int8 documents; the same bits on every machine.

    Args:
        query: (n_query_tokens, dim) float32.
        vectors: (n_tokens, dim) int8, the documents' tokens end to end.
        scales: (n_tokens,) float32 >= 0; a token stands for vectors * scales[:, None].
        doclens: (n_docs,) int64 tokens per document; sums to n_tokens.
        n_threads: threads to use.
    Returns: (n_docs,) float32; -inf without tokens.
    Raises: KernelInputError.
    Oracle: reference.maxsim_int8, equal to the bit.
    """
    checked_array(vectors, np.int8, (None, None), "vectors")
    checked_array(scales, np.float32, (None,), "scales")
    checked_array(query, np.float32, (None, None), "query")
    dim = vectors.shape[1]
    if len(scales) != len(vectors) or not 1 <= dim <= MAX_PADDED_DIM or query.shape[1] != dim:
        raise KernelInputError(
            f"query {query.shape}, vectors {vectors.shape} and scales {scales.shape} do not fit together"
        )
    offsets = checked_offsets(doclens, len(vectors))
    segment = layout_of_bytes(vectors, scales, offsets)
    quantized = _quantized(query, segment.format.n_dims)
    [scores] = score_segment([quantized], segment, ordinals=None, n_threads=n_threads)
    return np.asarray(scores)


def _quantized(query: F32, n_dims: int) -> QuantizedQuery:
    """`reference.quantize_query` of the query with zeros up to n_dims, in a twentieth of its time."""
    n_query_tokens, dim = query.shape
    values, scales = np.empty((n_query_tokens, n_dims), np.int8), np.empty(n_query_tokens, np.float32)
    if not quantize_query_int8(query, n_query_tokens, dim, n_dims, values, scales):
        raise KernelInputError("the query holds NaN or infinity")
    return QuantizedQuery.unchecked(values, scales)
