"""A query token and the document token that answers it."""

from dataclasses import dataclass

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
