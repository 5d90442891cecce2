"""What callers hand over, checked once at the border: ids, texts, metadata, token vectors, queries."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, TypeAlias

import numpy as np

from colsearch.errors import ConfigError, DocumentError, ShapeError, VectorError
from colsearch.types import F32, DocId, Document, Metadata, TokenVectors

Query: TypeAlias = str | F32
# From a query and a number n to the ids of the n best documents, by whatever else ranks them.
Retriever: TypeAlias = Callable[[Any, int], Iterable[DocId]]
# What it is asked for, at least; as many as BM25 puts forward in hybrid search.
N_RETRIEVED = 100
MAX_QUERY_TOKENS = 8192
MAX_METADATA_BYTES = 1 << 20
MAX_METADATA_DEPTH = 64
_INT64 = range(-(2**63), 2**63)
_END = object()


def checked_id(value: object) -> DocId:
    """A document id as it will be stored: a non-empty string or a 64-bit integer."""
    if isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value not in _INT64:
            raise DocumentError(f"id {value} does not fit into 64 bits; use a string")
        return value
    if isinstance(value, str) and value:
        return checked_text(value, where=f"id {value!r}")
    raise DocumentError(f"an id is a non-empty string or an integer, not {value!r}")


def checked_recall(recall: float) -> float:
    """A share of the exact hits."""
    if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1:
        raise ConfigError(f"recall is a share above 0 and at most 1, not {recall!r}")
    return float(recall)


def text_of(query: object) -> str:
    """A query's text, which BM25 needs."""
    if not isinstance(query, str):
        raise ConfigError("hybrid search needs the query's text; token vectors say nothing to BM25")
    return query


def retrieved(
    retriever: Retriever, queries: Sequence[Query], k: int, *, exact: bool, fused: bool
) -> list[list[DocId]]:
    """The ids that another retriever puts forward for each query."""
    if exact or fused:
        other = "exact=True scores every document" if exact else "hybrid='rrf' orders by ranks"
        raise ConfigError(f"candidates compete by MaxSim, but {other}: leave out one of both")
    return [[checked_id(id) for id in retriever(query, max(N_RETRIEVED, k))] for query in queries]


def checked_text(text: object, *, where: str) -> str:
    """The text itself, if it can be written as UTF-8."""
    if not isinstance(text, str):
        raise DocumentError(f"{where}: a text is a str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DocumentError(
            f"{where}: lone surrogate at character {error.start}; decode the source with errors='replace'"
        ) from None
    return text


def checked_metadata(metadata: Metadata | None, *, where: str) -> dict[str, Any]:
    """A plain dict that survives a round trip through JSON."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise DocumentError(f"{where}: metadata is a mapping, not {type(metadata).__name__}")
    try:
        encoded = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False).encode()
        plain: dict[str, Any] = json.loads(encoded, parse_int=_integer)
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: metadata cannot be stored as JSON: {error}") from None
    if len(encoded) > MAX_METADATA_BYTES:
        raise DocumentError(f"{where}: metadata of {len(encoded)} bytes; at most {MAX_METADATA_BYTES}")
    if len(plain) < len(metadata):
        raise DocumentError(f"{where}: two keys of the metadata are the same when written as strings")
    if _is_deeper(plain, MAX_METADATA_DEPTH):
        raise DocumentError(f"{where}: metadata nested more than {MAX_METADATA_DEPTH} levels deep")
    return plain


def _integer(digits: str) -> int:
    if math.isinf(float(digits)):
        raise ValueError(f"an integer of {len(digits)} digits is beyond every number type")
    return int(digits)


def _is_deeper(value: object, n_levels: int) -> bool:
    level = [value]
    for _ in range(n_levels + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def documents(
    *,
    texts: Iterable[str | None] | None,
    ids: Iterable[DocId] | None,
    metadata: Iterable[Metadata | None] | None,
    vectors: Iterable[object] | None = None,
    first_id: int,
) -> Iterator[tuple[Document, object]]:
    """Walk the columns in step, in constant memory: documents with their vectors, not yet checked.

    ids count up from first_id if not given.
    Raises: DocumentError: if a value cannot be stored, or one column ends before another.
    """
    columns = {"texts": texts, "vectors": vectors, "ids": ids, "metadata": metadata}
    given = {name: iter(column) for name, column in columns.items() if column is not None}
    for n in _count():
        row: dict[str, Any] = {name: next(column, _END) for name, column in given.items()}
        ended = [name for name, value in row.items() if value is _END]
        if ended:
            if len(ended) < len(row):
                others = " and ".join(name for name in row if name not in ended)
                raise DocumentError(f"{' and '.join(ended)} ended after {n} entries, but {others} went on")
            return
        document_id = checked_id(row["ids"]) if ids is not None else first_id + n
        where = f"document {document_id!r}"
        text = row.get("texts")
        document = Document(
            document_id,
            None if text is None else checked_text(text, where=where),
            checked_metadata(row.get("metadata"), where=where),
        )
        yield document, row.get("vectors")


def checked_documents(documents: Iterable[Document]) -> Iterator[tuple[Document, object]]:
    """Documents as `documents` gives them, without vectors."""
    for document in documents:
        id = checked_id(document.id)
        where = f"document {id!r}"
        text = checked_text(document.text or "", where=where)
        yield Document(id, text, checked_metadata(document.metadata, where=where)), None


def _count() -> Iterator[int]:
    n = 0
    while True:
        yield n
        n += 1


def token_array(vectors: object, dim: int, *, where: str) -> F32:
    """(n_tokens, dim) float32, C-contiguous, its numbers not yet looked at; accepts tensors."""
    if hasattr(vectors, "detach"):
        vectors = vectors.detach().to("cpu").float().numpy()
    try:
        array = np.asarray(vectors)
    except ValueError:
        raise ShapeError(
            f"{where}: token vectors are one (n_tokens, {dim}) array, not a ragged list"
        ) from None
    if array.ndim == 2 and array.shape[0] == 0:
        return np.empty((0, dim), np.float32)
    if array.ndim != 2 or array.shape[1] != dim:
        raise ShapeError(
            f"{where}: token vectors have shape {array.shape}, the index wants (n_tokens, {dim}); "
            "was it built with another encoder?"
        )
    if array.dtype.kind not in "fiu":
        raise ShapeError(f"{where}: token vectors are numbers, not {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.float32)


def check_rows(batch: Sequence[F32], vectors: F32, *, where: Callable[[int], str]) -> None:
    """Raise VectorError if a row holds NaN or infinity, or is all zeros.

    Args:
        vectors: those of the batch end to end: one look at all of them costs less than many small ones.
        where: names an array of the batch.
    """
    norms = np.einsum("ij,ij->i", vectors, vectors)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        what = "is all zeros" if norms[bad[0]] == 0 else "holds NaN, infinity or values too large to square"
        ends = np.cumsum([len(array) for array in batch])
        culprit = int(np.searchsorted(ends, bad[0], side="right"))
        token = bad[0] - (ends[culprit] - len(batch[culprit]))
        raise VectorError(f"{where(culprit)}: token {token} {what}; leave it out before adding the document")


def as_queries(query: Query | Sequence[Query]) -> tuple[list[Query], bool]:
    """The queries as a list, and whether the caller gave a single one."""
    if isinstance(query, str) or getattr(query, "ndim", None) == 2:
        return [query], True  # type: ignore[list-item]
    if getattr(query, "ndim", None) == 1:
        raise ShapeError("a query of token vectors has shape (n_tokens, dim); this array has one dimension")
    if not isinstance(query, Iterable):
        raise DocumentError(f"a query is a text or token vectors, not {type(query).__name__}")
    return list(query), False


def checked_query_text(query: str) -> str:
    """The text of a query, which must not be blank."""
    if not query.strip():
        raise DocumentError("the query is empty; give it at least one word")
    return checked_text(query, where="query")


def query_tokens(vectors: object, dim: int) -> TokenVectors:
    """The caller's token vectors of one query: at least one and at most 8,192 tokens."""
    if not 1 <= (n_tokens := len(vectors) if isinstance(vectors, Sized) else 0) <= MAX_QUERY_TOKENS:
        raise ShapeError(f"a query has 1 to {MAX_QUERY_TOKENS} tokens, this one has {n_tokens}")
    array = token_array(vectors, dim, where="query")
    check_rows([array], array, where=lambda _: "query")
    return TokenVectors(array, np.array([len(array)], np.int64))


def split(tokens: TokenVectors) -> list[TokenVectors]:
    """One TokenVectors per text."""
    ends = np.cumsum(tokens.doclens)
    return [
        TokenVectors(
            tokens.vectors[end - n : end],
            tokens.doclens[i : i + 1],
            None if tokens.spans is None else tokens.spans[end - n : end],
        )
        for i, (n, end) in enumerate(zip(tokens.doclens, ends))
    ]


def checked_k(k: int) -> int:
    """A number of hits: an integer of at least 1."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise DocumentError(f"k must be an integer of at least 1, not {k!r}")
    return int(k)


def flatten(batch: Sequence[F32], dim: int) -> TokenVectors:
    """Several documents' token vectors end to end."""
    doclens = np.array([len(vectors) for vectors in batch], np.int64)
    vectors = np.concatenate(batch) if doclens.sum() else np.empty((0, dim), np.float32)
    return TokenVectors(vectors, doclens)
