"""An explanation as HTML: the query's tokens, and the document's text with the matched tokens marked."""

import html

from colsearch.query.explain import UNNAMED, Explanation, TokenMatch

_STYLE = """<style>
.colsearch{font:15px/1.6 system-ui,sans-serif;max-width:50em;margin:1em 0;color-scheme:light dark}
.colsearch .h{margin-bottom:.3em}.colsearch p{white-space:pre-wrap}
.colsearch .q,.colsearch mark{color:inherit;border-radius:4px;padding:0 .2em;
background:color-mix(in srgb,#f5a623 calc(15% + var(--s)*70%),transparent)}
.colsearch .q{display:inline-block;margin:0 .3em .3em 0}.colsearch small{opacity:.65;margin-left:.3em}
</style>"""
_PAGE_STYLE = (
    "<style>body{max-width:56em;margin:2em auto;padding:0 1em;font:15px/1.6 system-ui,sans-serif;"
    "color-scheme:light dark}h2{font-size:1.1em;margin-top:2em}</style>"
)


def page(title: str, explanations: list[Explanation]) -> str:
    """A whole HTML page of explanations."""
    bodies = "".join(
        f"<h2>{html.escape(explanation.query or '')}</h2>{fragment(explanation)}"
        for explanation in explanations
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"{_PAGE_STYLE}<h1>{html.escape(title)}</h1>{bodies}</html>\n"
    )


def fragment(explanation: Explanation) -> str:
    """One explanation as HTML that needs nothing else, neither a style sheet nor scripts."""
    matches = explanation.tokens
    strongest = max((abs(match.share) for match in matches), default=1.0) or 1.0
    query_tokens = "".join(
        f'<span class="q" style="--s:{abs(match.share) / strongest:.3f}" '
        f'title="{match.share:.1%} of the score">'
        f"{html.escape(match.query_token or UNNAMED)}<small>{match.share:.0%}</small></span>"
        for match in matches
    )
    if explanation.text is None:
        body = "".join(
            f"<div>{html.escape(match.query_token or UNNAMED)} → token {match.position}</div>"
            for match in matches
        )
    else:
        body = _marked_text(explanation.text, matches, strongest)
    return (
        f'<div class="colsearch">{_STYLE}<div class="h"><b>{html.escape(str(explanation.id))}</b> '
        f"{explanation.score:.3f}</div><div>{query_tokens}</div><p>{body}</p></div>"
    )


def _marked_text(text: str, matches: tuple[TokenMatch, ...], strongest: float) -> str:
    """The text with every matched token marked, the more strongly the larger its share of the score."""
    by_span: dict[tuple[int, int], list[TokenMatch]] = {}
    for match in matches:
        if match.span is not None:
            by_span.setdefault(match.span, []).append(match)
    pieces, position = [], 0
    for (start, end), matches_of_span in sorted(by_span.items()):
        if start < position:
            continue
        share = sum(match.share for match in matches_of_span)
        query_tokens = ", ".join(match.query_token or UNNAMED for match in matches_of_span)
        pieces.append(html.escape(text[position:start]))
        pieces.append(
            f'<mark style="--s:{min(1.0, abs(share) / strongest):.3f}" '
            f'title="answers {html.escape(query_tokens, quote=True)}: {share:.1%}">'
            f"{html.escape(text[start:end])}</mark>"
        )
        position = end
    return "".join(pieces) + html.escape(text[position:])
