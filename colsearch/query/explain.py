"""Why a document matched: which of its tokens answered each query token."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np

from colsearch.types import F32, I32, I64, DocId, Document


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """One query token and the document token nearest to it.

    Attributes:
        query_token: its characters in the query; "" for a marker such as [CLS].
        query_span: start and end of them in the query, None for a marker or a query of vectors.
        document_token: characters of the best document token, "" if unknown.
        span: start and end of them in the document's text, or None.
        position: of the token within the document's tokens.
        similarity: this token's part of the score.
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
    """A score, taken apart; print it, or show it in a notebook."""

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
        """From the kernels' alignment: arrays have one row per query token, spans one per token."""
        score = float(np.float32(np.sum(similarities, dtype=np.float64)))
        tokens = []
        for i, (position, similarity) in enumerate(zip(best_tokens, similarities)):
            query_span = None if query_spans is None else _span(query_spans[i])
            span = _span(document_spans[position])
            tokens.append(
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
        return cls(query, document.id, document.text, score, tuple(tokens))

    def __str__(self) -> str:
        rows = [f"{self.id!r} scores {self.score:.3f}"]
        for token in self.tokens:
            name = token.query_token or "·"
            rows.append(
                f"{token.share:7.1%}  {name:<16} -> {token.document_token or f'token {token.position}'}"
            )
        return "\n".join(rows)

    def _repr_html_(self) -> str:
        """A self-contained fragment: the query's tokens, and the text with what answered them marked."""
        strongest = max((abs(token.share) for token in self.tokens), default=1.0) or 1.0
        chips = "".join(
            f'<span class="q" style="--s:{abs(t.share) / strongest:.3f}" title="{t.share:.1%} of the score">'
            f"{html.escape(t.query_token or '·')}<small>{t.share:.0%}</small></span>"
            for t in self.tokens
        )
        return (
            f'<div class="colsearch">{STYLE}<div class="h"><b>{html.escape(str(self.id))}</b> '
            f"{self.score:.3f}</div><div>{chips}</div><p>{self._marked_text(strongest)}</p></div>"
        )

    def _marked_text(self, strongest: float) -> str:
        if self.text is None:
            return "".join(
                f"<div>{html.escape(t.query_token or '·')} → token {t.position}</div>" for t in self.tokens
            )
        by_span: dict[tuple[int, int], list[TokenMatch]] = {}
        for token in self.tokens:
            if token.span is not None:
                by_span.setdefault(token.span, []).append(token)
        pieces, at = [], 0
        for (start, end), matches in sorted(by_span.items()):
            if start < at:
                continue
            share = sum(match.share for match in matches)
            names = ", ".join(match.query_token or "·" for match in matches)
            pieces.append(html.escape(self.text[at:start]))
            pieces.append(
                f'<mark style="--s:{min(1.0, abs(share) / strongest):.3f}" '
                f'title="answers {html.escape(names, quote=True)}: {share:.1%}">'
                f"{html.escape(self.text[start:end])}</mark>"
            )
            at = end
        return "".join(pieces) + html.escape(self.text[at:])


STYLE = """<style>
.colsearch{font:15px/1.6 system-ui,sans-serif;max-width:50em;margin:1em 0;color-scheme:light dark}
.colsearch .h{margin-bottom:.3em}.colsearch p{white-space:pre-wrap}
.colsearch .q,.colsearch mark{color:inherit;border-radius:4px;padding:0 .2em;
background:color-mix(in srgb,#f5a623 calc(15% + var(--s)*70%),transparent)}
.colsearch .q{display:inline-block;margin:0 .3em .3em 0}.colsearch small{opacity:.65;margin-left:.3em}
</style>"""


def page(title: str, explanations: list[Explanation]) -> str:
    """A whole HTML page of explanations."""
    bodies = "".join(
        f"<h2>{html.escape(explanation.query or '')}</h2>{explanation._repr_html_()}"
        for explanation in explanations
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>body{{max-width:56em;margin:2em auto;padding:0 1em;font:15px/1.6 system-ui,sans-serif;"
        f"color-scheme:light dark}}h2{{font-size:1.1em;margin-top:2em}}</style>"
        f"<h1>{html.escape(title)}</h1>{bodies}</html>\n"
    )


def _span(row: I32) -> tuple[int, int] | None:
    start, end = int(row[0]), int(row[1])
    return (start, end) if 0 <= start < end else None


def _characters(text: str | None, span: tuple[int, int] | None) -> str:
    return "" if text is None or span is None else text[span[0] : span[1]]
