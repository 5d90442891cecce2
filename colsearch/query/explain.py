"""Why a document matched: for each query token, the document token most similar to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from colsearch.types import F32, I32, I64, DocId, Document

# Shown for a query token without characters, such as [CLS].
UNNAMED = "·"


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """One query token and the document token most similar to it.

    Attributes:
        query_token: the query token's characters; "" for a marker such as [CLS].
        query_span: their start and end in the query; None for a marker or a query of vectors.
        document_token: the document token's characters; "" if unknown.
        span: their start and end in the document's text; None if unknown.
        position: number of the document token within its document, from 0.
        similarity: dot product of the two tokens, which is the query token's part of the score.
        share: similarity divided by the score.
    """

    query_token: str
    query_span: tuple[int, int] | None
    document_token: str
    span: tuple[int, int] | None
    position: int
    similarity: float
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A document's score as a sum over query tokens; print it, or show it in a notebook.

    Attributes:
        query: the query's text; None for a query of vectors.
        text: the document's text; None if it was added without one.
        score: MaxSim over the stored codes, as a search gives it.
        tokens: one match per query token, in their order.
    """

    query: str | None
    id: DocId
    text: str | None
    score: float
    tokens: tuple[TokenMatch, ...]

    @classmethod
    def build(
        cls,
        *,
        query: str | None,
        query_spans: I32 | None,
        document: Document,
        document_spans: I32,
        best_tokens: I64,
        similarities: F32,
    ) -> Explanation:
        """Explain a score by the kernels' alignment.

        Args:
            query_spans: (n_query_tokens, 2) start and end of each query token; None for a query of vectors.
            document_spans: (n_document_tokens, 2) start and end of each document token.
            best_tokens: (n_query_tokens,) position of the most similar document token.
            similarities: (n_query_tokens,) float32 dot product with that token.
        """
        score = float(np.float32(np.sum(similarities, dtype=np.float64)))
        matches = []
        for i, (position, similarity) in enumerate(zip(best_tokens, similarities)):
            query_span = None if query_spans is None else _span(query_spans[i])
            span = _span(document_spans[position])
            matches.append(
                TokenMatch(
                    query_token=_characters(query, query_span),
                    query_span=query_span,
                    document_token=_characters(document.text, span),
                    span=span if document.text is not None else None,
                    position=int(position),
                    similarity=float(similarity),
                    share=float(similarity) / score if score else 0.0,
                )
            )
        return cls(query, document.id, document.text, score, tuple(matches))

    def __str__(self) -> str:
        lines = [f"{self.id!r} scores {self.score:.3f}"]
        for match in self.tokens:
            query_token = match.query_token or UNNAMED
            document_token = match.document_token or f"token {match.position}"
            lines.append(f"{match.share:7.1%}  {query_token:<16} -> {document_token}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        from colsearch.query.explain_page import fragment

        return fragment(self)


def _span(row: I32) -> tuple[int, int] | None:
    start, end = int(row[0]), int(row[1])
    return (start, end) if 0 <= start < end else None


def _characters(text: str | None, span: tuple[int, int] | None) -> str:
    return "" if text is None or span is None else text[span[0] : span[1]]
