"""MaxSim over float vectors: a flat ragged array, or a list of documents."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import F32, I64, address
from colsearch_kernels.layout.packing import aligned_block
from colsearch_kernels.runtime import pool
from colsearch_kernels.runtime.native import Kernel
from colsearch_kernels.runtime.tiers import target_features, tier

Compute: TypeAlias = Literal["float32", "bfloat16"]
Floats: TypeAlias = NDArray[Any]
FLOAT32, FLOAT16, BFLOAT16 = range(3)
# What is wrong with a query.
NOT_FINITE, OVERFLOWS = 1, 2
# Elsewhere bfloat16 numbers are widened, and their float32 products are exact.
NATIVE_BFLOAT16 = tier().name == "avx512" and "avx512bf16" in target_features()
# NumPy has no bfloat16: its bits come as uint16, or as the type that ml_dtypes adds, known by its name.
_SOURCES = {
    "float32": FLOAT32,
    "float16": FLOAT16,
    "bfloat16": BFLOAT16,
    "uint16": BFLOAT16,
}
_ITEM_BYTES = {FLOAT32: 4, FLOAT16: 2, BFLOAT16: 2}
_COMPUTES = get_args(Compute)
# Cost of one query token against one dim of one document token, to size the chunks of work.
_NS_PER_PRODUCT = 0.02
_pack_query, _place_documents = Kernel("floats.pack_query"), Kernel("floats.place_documents")
_score_documents = Kernel("floats.score_documents")


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
    _place(doclens, n_tokens, address(vectors), dim * _ITEM_BYTES[source], starts)
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
        # What `_checked` checks, without its messages, at a fifth of its time.
        fits = isinstance(document, np.ndarray) and document.ndim == 2 and document.shape[1] == dim
        if not (fits and _source(document.dtype) == source and _readable(document)):
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
    """Scores of documents at addresses; whoever calls keeps them alive."""
    if compute not in _COMPUTES:
        raise KernelInputError(f"compute must be one of {', '.join(_COMPUTES)}, not {compute!r}")
    narrow = int(compute == "bfloat16")
    _packed, packed_at = _packed_query(query, dim, narrow)
    n_words, n_query_tokens = _words_per_row(dim, narrow), len(query)
    scores = np.empty(len(doclens), np.float32)
    starts_at, doclens_at, scores_at = address(starts), address(doclens), address(scores)
    n_bad = []

    def run(first: int, last: int) -> None:
        n_bytes = _scratch_bytes(n_words, n_query_tokens)
        _memory, scratch = aligned_block(n_bytes, zeroed=True)
        n_bad.append(
            _score_documents(
                source, narrow, starts_at, doclens_at, first, last, dim * _ITEM_BYTES[source], dim, n_words,
                packed_at, n_query_tokens, scratch, scores_at,
            )
        )  # fmt: skip

    n_lanes = -(n_query_tokens // -16) * 16
    pool.run_documents(run, doclens, ns_per_token=_NS_PER_PRODUCT * n_lanes * dim, n_threads=n_threads)
    if any(n_bad):
        first_bad = np.flatnonzero(~np.isfinite(scores) & (doclens > 0))[0]
        raise KernelInputError(
            f"document {first_bad} and {sum(n_bad) - 1} more hold NaN or infinity, or overflow float32"
        )
    return scores


def _packed_query(query: Floats, dim: int, narrow: int) -> tuple[NDArray[np.uint8], int]:
    """The query in lanes as the kernel multiplies them: memory, and the address within."""
    source = _checked(query, "query")
    if len(query) < 1 or query.shape[1] != dim:
        raise KernelInputError(f"query {query.shape} does not fit documents of dim {dim}")
    n_words = _words_per_row(dim, narrow)
    packed, at = aligned_block(-(len(query) // -16) * 64 * n_words)
    _memory, scratch = aligned_block(128 * dim + 8)
    wrong = _pack_query(
        source, narrow, address(query), len(query), dim * _ITEM_BYTES[source], dim, n_words, scratch, at
    )
    if wrong == NOT_FINITE:
        raise KernelInputError("the query holds NaN or infinity")
    if wrong == OVERFLOWS:
        raise KernelInputError("the query overflows bfloat16")
    return packed, at


def _checked(array: Floats, name: str) -> int:
    """Which source type an array is of, if the kernel can read it as it lies."""
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] < 1:
        found = array.shape if isinstance(array, np.ndarray) else type(array).__name__
        raise KernelInputError(f"{name}: need a 2-d array (n_tokens, dim >= 1), not {found}")
    source = _source(array.dtype)
    if source is None:
        raise KernelInputError(
            f"{name}: need float32, float16 or bfloat16 in this machine's byte order, not {array.dtype.str}"
        )
    if not _readable(array):
        raise KernelInputError(
            f"{name}: need C-contiguous, aligned memory; pass np.require(array, requirements='CA')"
        )
    return source


def _readable(array: Floats) -> bool:
    flags = array.flags
    return flags.c_contiguous and flags.aligned


# A dtype takes 6 microseconds to say its name.
@lru_cache(maxsize=16)
def _source(dtype: np.dtype[Any]) -> int | None:
    return _SOURCES.get(dtype.name) if dtype.isnative else None


def _checked_doclens(doclens: I64) -> I64:
    if not isinstance(doclens, np.ndarray) or doclens.dtype != np.int64 or doclens.ndim != 1:
        raise KernelInputError("doclens: need a 1-d int64 array")
    return doclens if _readable(doclens) else np.require(doclens, requirements=["C", "A"])


def checked_offsets(doclens: I64, n_tokens: int) -> I64:
    """(n_docs + 1,) int64, if doclens are lengths that sum to n_tokens."""
    doclens = _checked_doclens(doclens)
    offsets = np.empty(len(doclens) + 1, np.int64)
    _place(doclens, n_tokens, 0, 1, offsets)
    offsets[-1] = n_tokens
    return offsets


def _place(doclens: I64, n_tokens: int, first: int, row_bytes: int, starts: I64) -> None:
    """Where each document starts, if the lengths sum to n_tokens."""
    if not _place_documents(address(doclens), len(doclens), n_tokens, first, row_bytes, address(starts)):
        raise KernelInputError(f"doclens: must be >= 0 and sum to {n_tokens} tokens, not {doclens.sum()}")


def _words_per_row(dim: int, narrow: int) -> int:
    """32-bit words of a row as a tile reads it."""
    return -(dim // -2) if narrow and NATIVE_BFLOAT16 else dim


def _scratch_bytes(n_words: int, n_query_tokens: int) -> int:
    """Maxima and the rows of one tile."""
    return -(n_query_tokens // -16) * 64 + 4 * n_words * tier().float_tile
