"""A search as the caller asks for it, checked once: queries, number of hits, recall, retrievers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from colsearch.encoders.index_encoder import IndexEncoder
from colsearch.errors import ConfigError, DocumentError, ShapeError
from colsearch.ingest.validate import checked_id, checked_text
from colsearch.ingest.vectors import check_rows, token_array
from colsearch.types import F32, DocId, TokenVectors

# A text, or (n_query_tokens, dim) token vectors.
Query: TypeAlias = str | F32
# From a query and a number n to the ids of the n best documents by another retriever.
Retriever: TypeAlias = Callable[[Any, int], Iterable[DocId]]
# BM25 and other retrievers are asked for at least this many documents per query.
N_RETRIEVED = 100
MAX_QUERY_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The options of `ColIndex.search`, checked.

    Attributes:
        k: hits wanted.
        where: a filter on metadata, or None.
        recall: the share of the exact k best to find; 1 scores every document.
        hybrid: whether BM25 adds candidates (True), or is fused with MaxSim by ranks ("rrf").
        candidates: another retriever, whose documents compete by their MaxSim.
        group_by: a metadata field whose values count once each.
    """

    k: int
    where: Mapping[str, Any] | None = None
    recall: float = 1.0
    hybrid: bool | Literal["rrf"] = False
    candidates: Retriever | None = None
    group_by: str | None = None

    @classmethod
    def checked(
        cls,
        k: int,
        *,
        where: Mapping[str, Any] | None,
        recall: float,
        exact: bool,
        hybrid: bool | Literal["rrf"],
        candidates: Retriever | None,
        group_by: str | None,
    ) -> SearchRequest:
        """Raises: DocumentError, ConfigError: naming the option."""
        share = 1.0 if exact else checked_recall(recall)
        if candidates is not None and exact:
            raise ConfigError(
                "candidates= has no effect with exact=True, which scores every document: leave out one of both"
            )
        if candidates is not None and hybrid == "rrf":
            raise ConfigError(
                "candidates= compete by MaxSim, but hybrid='rrf' orders by ranks: leave out one of both"
            )
        return cls(checked_k(k), where, share, hybrid, candidates, group_by)


def as_queries(query: Query | Sequence[Query]) -> tuple[list[Query], bool]:
    """The queries as a list, and whether the caller gave a single one."""
    if isinstance(query, str) or getattr(query, "ndim", None) == 2:
        return [query], True  # type: ignore[list-item]
    if getattr(query, "ndim", None) == 1:
        raise ShapeError("a query of token vectors has shape (n_tokens, dim); this array has one dimension")
    if not isinstance(query, Iterable):
        raise DocumentError(f"a query is a text or token vectors, not {type(query).__name__}")
    return list(query), False


def query_tokens(queries: Sequence[Query], encoder: IndexEncoder, dim: int) -> list[TokenVectors]:
    """The tokens of each query; all texts are encoded together."""
    texts = [checked_query_text(query) for query in queries if isinstance(query, str)]
    encoded = iter(_split(encoder.encode_query(texts)) if texts else ())
    return [next(encoded) if isinstance(query, str) else _given_tokens(query, dim) for query in queries]


def checked_query_text(query: str) -> str:
    """The text of a query, which must not be blank."""
    if not query.strip():
        raise DocumentError("the query is empty; give it at least one word")
    # Only other characters can be lone surrogates.
    return query if query.isascii() else checked_text(query, where="query")


def checked_k(k: int) -> int:
    """A number of hits: an integer of at least 1."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise DocumentError(f"k must be an integer of at least 1, not {k!r}")
    return int(k)


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


def retrieved_ids(retriever: Retriever, query: Query, k: int) -> list[DocId]:
    """The ids that another retriever puts forward for a query."""
    return [checked_id(id) for id in retriever(query, max(N_RETRIEVED, k))]


def _given_tokens(vectors: object, dim: int) -> TokenVectors:
    """The caller's token vectors of one query: 1 to `MAX_QUERY_TOKENS` tokens."""
    if not 1 <= (n_tokens := len(vectors) if isinstance(vectors, Sized) else 0) <= MAX_QUERY_TOKENS:
        raise ShapeError(f"a query has 1 to {MAX_QUERY_TOKENS} tokens, this one has {n_tokens}")
    array = token_array(vectors, dim, where="query")
    check_rows([array], array, where=lambda _: "query")
    return TokenVectors(array, np.array([len(array)], np.int64))


def _split(tokens: TokenVectors) -> list[TokenVectors]:
    """One `TokenVectors` per text."""
    ends = np.cumsum(tokens.doclens)
    return [
        TokenVectors(
            tokens.vectors[end - n : end],
            tokens.doclens[i : i + 1],
            None if tokens.spans is None else tokens.spans[end - n : end],
        )
        for i, (n, end) in enumerate(zip(tokens.doclens, ends))
    ]
