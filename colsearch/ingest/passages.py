"""Long texts cut into passages, so that a document can score as its best one (MaxP, Dai & Callan 2019)."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from colsearch.errors import ConfigError
from colsearch.types import I32, Document

# From a text to the (n, 2) starts and ends of its tokens, in characters.
TokenSpans: TypeAlias = Callable[[str], I32]
# Metadata of a passage: its document's id, and its number among that document's passages.
PASSAGE_OF, PASSAGE = "passage_of", "passage"

_SENTENCE_ENDS = frozenset(".!?。！？")


def in_passages(documents: Iterable[Document], n_tokens: int, token_spans: TokenSpans) -> Iterator[Document]:
    """Documents cut into passages of at most n_tokens tokens, with ids such as "doc-7#0".

    Each carries its document's metadata, `passage_of` and `passage`.
    """
    for document in documents:
        text = document.text or ""
        for number, (start, end) in enumerate(split_passages(text, n_tokens, token_spans)):
            metadata = {**document.metadata, PASSAGE_OF: document.id, PASSAGE: number}
            yield Document(f"{document.id}#{number}", text[start:end], metadata)


def split_passages(text: str, n_tokens: int, token_spans: TokenSpans) -> list[tuple[int, int]]:
    """Start and end, in characters, of passages that follow each other and cover every token.

    A passage ends at the last sentence end in its second half, else between two words, and inside a word
    only if that word alone is longer than a passage.

    Args:
        n_tokens: most tokens of a passage.
        token_spans: gives the places of a text's tokens, as an encoder's `token_spans` does.
    Returns: at least one span; (0, len(text)) for a text that fits.
    Raises: ConfigError: if n_tokens is less than 1.
    """
    if n_tokens < 1:
        raise ConfigError(f"a passage holds at least 1 token, not {n_tokens}")
    spans = token_spans(text)
    if len(spans) <= n_tokens:
        return [(0, len(text))]
    cuts = list(_cuts(text, spans, n_tokens))
    starts = [int(spans[cut, 0]) for cut in cuts[:-1]]
    ends = [int(spans[cut - 1, 1]) for cut in cuts[1:]]
    return list(zip(starts, ends))


def _cuts(text: str, spans: I32, n_tokens: int) -> Iterator[int]:
    """Numbers of the tokens that begin a passage, then the number of tokens."""
    begins_word = np.r_[True, spans[1:, 0] > spans[:-1, 1]]
    after_sentence = np.array(
        [begins and _ends_sentence(text, spans, n) for n, begins in enumerate(begins_word)]
    )
    start, n_all = 0, len(spans)
    while start < n_all:
        yield start
        start = _next_cut(start, n_all, n_tokens, begins_word, after_sentence)
    yield n_all


def _next_cut(
    start: int, n_all: int, n_tokens: int, begins_word: NDArray[np.bool_], after_sentence: NDArray[np.bool_]
) -> int:
    limit = start + n_tokens
    if limit >= n_all:
        return n_all
    for allowed, earliest in ((after_sentence, start + (n_tokens + 1) // 2), (begins_word, start + 1)):
        found = np.flatnonzero(allowed[earliest : limit + 1])
        if len(found):
            return earliest + int(found[-1])
    return limit


def _ends_sentence(text: str, spans: I32, n: int) -> bool:
    """Whether the token before token n closes a sentence, perhaps with a quote or bracket after the stop."""
    if n == 0:
        return False
    end = int(spans[n - 1, 1])
    return text[max(0, end - 2) : end].rstrip("\"')]”’")[-1:] in _SENTENCE_ENDS
