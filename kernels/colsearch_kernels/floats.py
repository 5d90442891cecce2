"""MaxSim over float vectors: a flat ragged array, or a list of documents."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels import float_kernel, pool
from colsearch_kernels.codes import F32, I64, address
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.packing import aligned_block

Compute: TypeAlias = Literal["float32", "bfloat16"]
Floats: TypeAlias = NDArray[Any]
# NumPy has no bfloat16: its bits come as uint16, or as the type that ml_dtypes adds, known by its name.
_SOURCES = {
    "float32": float_kernel.FLOAT32,
    "float16": float_kernel.FLOAT16,
    "bfloat16": float_kernel.BFLOAT16,
    "uint16": float_kernel.BFLOAT16,
}
# Cost of one query token against one dim of one document token, to size the chunks of work.
_NS_PER_PRODUCT = 0.02


def maxsim(
    query: Floats, vectors: Floats, doclens: I64, *, compute: Compute = "float32", n_threads: int = 1
) -> F32:
    """Late-interaction score of one query against each document.

    Args:
        query: (n_query_tokens, dim) float32, float16 or bfloat16 (its bits as uint16, or ml_dtypes').
        vectors: (n_tokens, dim) of one of these, the documents' tokens end to end.
        doclens: (n_docs,) int64 tokens per document, each >= 0; sums to n_tokens.
        compute: "float32" multiplies what is given; "bfloat16" rounds both sides to bfloat16 first, which is
            twice as fast where the processor has it. Sums are float32.
        n_threads: threads to use.
    Returns: (n_docs,) float32 sum over query tokens of the best dot product; -inf without tokens.
    Raises: KernelInputError: for shapes, dtypes or layouts that do not fit, and for NaN, infinity or overflow.
    Source: Khattab & Zaharia 2020, eq. 3. Oracle: reference.maxsim.
    """
    source = _checked(vectors, "vectors")
    offsets = checked_offsets(doclens, len(vectors))
    starts = address(vectors) + offsets[:-1] * vectors.strides[0]
    return _scores(query, source, vectors.shape[1], starts, np.ascontiguousarray(doclens), compute, n_threads)


def maxsim_list(
    query: Floats, documents: Sequence[Floats], *, compute: Compute = "float32", n_threads: int = 1
) -> F32:
    """`maxsim` over one (n_tokens, dim) array per document, all of one dtype; nothing is copied."""
    if not len(documents):
        _checked(query, "query")
        return np.empty(0, np.float32)
    sources = {_checked(document, f"document {i}") for i, document in enumerate(documents)}
    dims = {document.shape[1] for document in documents}
    if len(sources) > 1 or len(dims) > 1:
        raise KernelInputError(
            f"documents must share one dtype and one dim, not {sorted({str(d.dtype) for d in documents})} "
            f"and {sorted(dims)}"
        )
    starts = np.array([address(document) for document in documents], np.int64)
    doclens = np.array([len(document) for document in documents], np.int64)
    return _scores(query, sources.pop(), dims.pop(), starts, doclens, compute, n_threads)


def _scores(
    query: Floats, source: int, dim: int, starts: I64, doclens: I64, compute: Compute, n_threads: int
) -> F32:
    """Scores of documents at addresses; whoever calls keeps them alive."""
    if compute not in get_args(Compute):
        raise KernelInputError(f"compute must be one of {', '.join(get_args(Compute))}, not {compute!r}")
    narrow = compute == "bfloat16"
    lanes, n_words = _query_words(query, dim, narrow)
    _packed, packed_at = aligned_block(-(len(query) // -16) * 64 * n_words)
    float_kernel.pack_query(address(lanes), len(query), n_words, packed_at)  # type: ignore[no-untyped-call]
    scores = np.empty(len(doclens), np.float32)
    row_bytes = dim * (4 if source == float_kernel.FLOAT32 else 2)
    arrays = (address(starts), address(doclens), address(scores))

    def run(first: int, last: int) -> None:
        n_bytes = float_kernel.scratch_bytes(n_words, len(query))
        _memory, scratch = aligned_block(n_bytes, zeroed=True)
        float_kernel.score_documents(  # type: ignore[no-untyped-call]
            source, int(narrow), arrays[0], arrays[1], first, last, row_bytes, dim, n_words,
            packed_at, len(query), scratch, arrays[2],
        )  # fmt: skip

    n_lanes = -(len(query) // -16) * 16
    pool.run_documents(run, doclens, ns_per_token=_NS_PER_PRODUCT * n_lanes * dim, n_threads=n_threads)
    _check_scores(scores, doclens)
    return scores


def _query_words(query: Floats, dim: int, narrow: bool) -> tuple[Floats, int]:
    """The query in 32-bit words as the kernel multiplies them, and how many a token has."""
    source = _checked(query, "query")
    if len(query) < 1 or query.shape[1] != dim:
        raise KernelInputError(f"query {query.shape} does not fit documents of dim {dim}")
    if source == float_kernel.BFLOAT16:
        values = (query.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        values = query.astype(np.float32)
    if not np.isfinite(values).all():
        raise KernelInputError("the query holds NaN or infinity")
    if narrow:
        bits = values.view(np.uint32)
        bits = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) & np.uint32(0xFFFF0000)
        values = bits.view(np.float32)
        if not np.isfinite(values).all():
            raise KernelInputError("the query overflows bfloat16")
    n_words = float_kernel.words_per_row(dim, narrow)
    if not (narrow and float_kernel.NATIVE_BFLOAT16):
        return values, n_words
    halves = np.zeros((len(values), 2 * n_words), np.uint16)
    halves[:, :dim] = values.view(np.uint32) >> 16
    return halves, n_words


def _checked(array: Floats, name: str) -> int:
    """Which source type an array is of, if the kernel can read it as it lies."""
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] < 1:
        found = array.shape if isinstance(array, np.ndarray) else type(array).__name__
        raise KernelInputError(f"{name}: need a 2-d array (n_tokens, dim >= 1), not {found}")
    if array.dtype.name not in _SOURCES or not array.dtype.isnative:
        raise KernelInputError(
            f"{name}: need float32, float16 or bfloat16 in this machine's byte order, not {array.dtype.str}"
        )
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise KernelInputError(
            f"{name}: need C-contiguous, aligned memory; pass np.require(array, requirements='CA')"
        )
    return _SOURCES[array.dtype.name]


def checked_offsets(doclens: I64, n_tokens: int) -> I64:
    """(n_docs + 1,) int64, if doclens are lengths that sum to n_tokens."""
    if not isinstance(doclens, np.ndarray) or doclens.dtype != np.int64 or doclens.ndim != 1:
        raise KernelInputError("doclens: need a 1-d int64 array")
    offsets = np.zeros(len(doclens) + 1, np.int64)
    np.cumsum(doclens, out=offsets[1:])
    # Each on its own: sums of huge numbers may wrap around.
    if ((doclens < 0) | (doclens > n_tokens)).any() or offsets[-1] != n_tokens:
        raise KernelInputError(f"doclens: must be >= 0 and sum to {n_tokens} tokens, not {doclens.sum()}")
    return offsets


def _check_scores(scores: F32, doclens: I64) -> None:
    bad = np.flatnonzero(~np.isfinite(scores) & (doclens > 0))
    if len(bad):
        raise KernelInputError(
            f"document {bad[0]} and {len(bad) - 1} more hold NaN or infinity, or overflow float32"
        )
