"""MaxSim over float vectors: a flat ragged array, or a list of documents."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels.arguments import (
    BFLOAT16,
    F32,
    FLOAT16,
    FLOAT32,
    I64,
    NOT_FINITE,
    OVERFLOWS,
    U8,
    FloatDocuments,
    FloatFormat,
)
from colsearch_kernels.checks import check_memory, is_readable
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.packing import address, aligned_block
from colsearch_kernels.runtime import pool
from colsearch_kernels.runtime.kernel import kernel
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES, has_native_bfloat16, tier

if TYPE_CHECKING:
    from colsearch_kernels.compiled.floats import pack_query, place_documents, score_documents
else:
    pack_query = kernel("floats.pack_query", globals())
    place_documents = kernel("floats.place_documents", globals())
    score_documents = kernel("floats.score_documents", globals())

Compute: TypeAlias = Literal["float32", "bfloat16"]
Floats: TypeAlias = NDArray[Any]
# NumPy has no bfloat16. Its bits come as uint16, or as the type of ml_dtypes, which is recognized by its name.
_SOURCES = {
    "float32": FLOAT32,
    "float16": FLOAT16,
    "bfloat16": BFLOAT16,
    "uint16": BFLOAT16,
}
_ITEM_BYTES = {FLOAT32: 4, FLOAT16: 2, BFLOAT16: 2}
_COMPUTES = get_args(Compute)
_NATIVE_BFLOAT16 = has_native_bfloat16()
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
    n_tokens, dim = vectors.shape
    doclens = _checked_doclens(doclens)
    starts = np.empty(len(doclens), np.int64)
    _place(doclens, n_tokens, vectors, dim * _ITEM_BYTES[source], starts)
    return _scores(query, source, dim, starts, doclens, compute, n_threads)


def maxsim_list(
    query: Floats, documents: Sequence[Floats], *, compute: Compute = "float32", n_threads: int = 1
) -> F32:
    """`maxsim` over one (n_tokens, dim) array per document, all of one dtype; nothing is copied."""
    if not len(documents):
        _checked(query, "query")
        return np.empty(0, np.float32)
    source, dim = _checked(documents[0], "document 0"), documents[0].shape[1]
    for i, document in enumerate(documents):
        # The same checks as `_checked` makes, without its messages, in a fifth of its time.
        fits = isinstance(document, np.ndarray) and document.ndim == 2 and document.shape[1] == dim
        if not (fits and _source(document.dtype) == source and is_readable(document)):
            _checked(document, f"document {i}")
            raise KernelInputError(
                f"documents must share one dtype and one dim, not {sorted({str(d.dtype) for d in documents})} "
                f"and {sorted({d.shape[1] for d in documents})}"
            )
    starts = np.array([address(document) for document in documents], np.int64)
    doclens = np.array([len(document) for document in documents], np.int64)
    return _scores(query, source, dim, starts, doclens, compute, n_threads)


def _scores(
    query: Floats, source: int, dim: int, starts: I64, doclens: I64, compute: Compute, n_threads: int
) -> F32:
    """Scores of documents at addresses; the caller keeps their memory alive."""
    if compute not in _COMPUTES:
        raise KernelInputError(f"compute must be one of {', '.join(_COMPUTES)}, not {compute!r}")
    row_format = _row_format(source, dim, compute)
    packed, n_query_tokens = _packed_query(query, dim, compute), len(query)
    documents = FloatDocuments(row_format, starts, doclens)
    scores = np.empty(len(doclens), np.float32)
    n_bad = []

    def run(first: int, last: int) -> None:
        scratch = aligned_block(_scratch_bytes(row_format.n_words, n_query_tokens), zeroed=True)
        n_bad.append(score_documents(documents, first, last, packed, n_query_tokens, scratch, scores))

    n_lanes = LANES * -(n_query_tokens // -LANES)
    pool.run_documents(run, doclens, ns_per_token=_NS_PER_PRODUCT * n_lanes * dim, n_threads=n_threads)
    if any(n_bad):
        first_bad = np.flatnonzero(~np.isfinite(scores) & (doclens > 0))[0]
        raise KernelInputError(
            f"document {first_bad} and {sum(n_bad) - 1} more hold NaN or infinity, or overflow float32"
        )
    return scores


def _row_format(source: int, dim: int, compute: Compute) -> FloatFormat:
    narrow = compute == "bfloat16"
    n_words = -(dim // -2) if narrow and _NATIVE_BFLOAT16 else dim
    return FloatFormat(source, int(narrow), dim * _ITEM_BYTES[source], dim, n_words)


def _packed_query(query: Floats, dim: int, compute: Compute) -> U8:
    """The query in lanes as the kernel multiplies them."""
    source = _checked(query, "query")
    n_query_tokens = len(query)
    if n_query_tokens < 1 or query.shape[1] != dim:
        raise KernelInputError(f"query {query.shape} does not fit documents of dim {dim}")
    row_format = _row_format(source, dim, compute)
    packed = aligned_block(-(n_query_tokens // -LANES) * VECTOR_BYTES * row_format.n_words)
    # One vector of tokens as float32 and as narrower words, of which the last may be half empty.
    scratch = aligned_block(2 * VECTOR_BYTES * dim + 8)
    wrong = pack_query(row_format, query, n_query_tokens, scratch, packed)
    if wrong == NOT_FINITE:
        raise KernelInputError("the query holds NaN or infinity")
    if wrong == OVERFLOWS:
        raise KernelInputError("the query overflows bfloat16")
    return packed


def _checked(array: Floats, name: str) -> int:
    """The type of an array's rows, if the kernel can read it as it lies in memory."""
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] < 1:
        found = array.shape if isinstance(array, np.ndarray) else type(array).__name__
        raise KernelInputError(f"{name}: need a 2-d array (n_tokens, dim >= 1), not {found}")
    source = _source(array.dtype)
    if source is None:
        raise KernelInputError(
            f"{name}: need float32, float16 or bfloat16 in this machine's byte order, not {array.dtype.str}"
        )
    check_memory(array, name)
    return source


# Asking a dtype for its name takes 6 microseconds.
@lru_cache(maxsize=16)
def _source(dtype: np.dtype[Any]) -> int | None:
    return _SOURCES.get(dtype.name) if dtype.isnative else None


def _checked_doclens(doclens: I64) -> I64:
    if not isinstance(doclens, np.ndarray) or doclens.dtype != np.int64 or doclens.ndim != 1:
        raise KernelInputError("doclens: need a 1-d int64 array")
    return doclens if is_readable(doclens) else np.require(doclens, requirements=["C", "A"])


def checked_offsets(doclens: I64, n_tokens: int) -> I64:
    """(n_docs + 1,) int64, if doclens are lengths that sum to n_tokens."""
    doclens = _checked_doclens(doclens)
    offsets = np.empty(len(doclens) + 1, np.int64)
    _place(doclens, n_tokens, None, 1, offsets)
    offsets[-1] = n_tokens
    return offsets


def _place(doclens: I64, n_tokens: int, vectors: Floats | None, row_bytes: int, starts: I64) -> None:
    """Write the address of each document's first row to `starts`; without vectors, its place counted in row_bytes.

    Raises: KernelInputError: if the lengths do not sum to n_tokens.
    """
    if not place_documents(doclens, len(doclens), n_tokens, vectors, row_bytes, starts):
        raise KernelInputError(f"doclens: must be >= 0 and sum to {n_tokens} tokens, not {doclens.sum()}")


def _scratch_bytes(n_words: int, n_query_tokens: int) -> int:
    """Bytes that scoring writes to: the maxima and the rows of one tile."""
    return -(n_query_tokens // -LANES) * VECTOR_BYTES + 4 * n_words * tier().float_tile
