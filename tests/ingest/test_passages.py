"""Passages cover every token once, are short enough, and end where a reader would."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colsearch.encoders.embedded import EmbeddedEncoder
from colsearch.errors import ConfigError
from colsearch.ingest.passages import split_passages


def _words_and_marks(text):
    return np.array([match.span() for match in re.finditer(r"\w{1,4}|[^\w\s]", text)], np.int32).reshape(
        -1, 2
    )


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab c.!?\n“”é中", max_size=120), st.integers(1, 12))
def test_every_token_lies_in_exactly_one_passage(text, n_tokens):
    spans = _words_and_marks(text)
    passages = split_passages(text, n_tokens, _words_and_marks)
    owners = [[n for n, (start, end) in enumerate(passages) if start <= a and b <= end] for a, b in spans]
    assert all(len(owner) == 1 for owner in owners)
    assert max(np.bincount([owner[0] for owner in owners]), default=0) <= n_tokens
    assert passages == sorted(passages)


def test_a_passage_ends_at_a_sentence_if_there_is_one_in_its_second_half():
    text = "One two three. Four five six. Seven eight nine ten."
    passages = split_passages(
        text, 6, lambda text: np.array([m.span() for m in re.finditer(r"\w+|\.", text)])
    )
    assert [text[start:end] for start, end in passages] == [
        "One two three.",
        "Four five six.",
        "Seven eight nine ten.",
    ]


def test_without_sentences_a_passage_ends_between_words():
    text = "alpha beta gammagammagamma delta"
    passages = split_passages(text, 4, _words_and_marks)
    assert [text[start:end] for start, end in passages] == ["alpha beta", "gammagammagamma", "delta"]


def test_a_word_longer_than_a_passage_is_cut():
    passages = split_passages("abcdefghijkl", 2, _words_and_marks)
    assert passages == [(0, 8), (8, 12)]


def test_a_text_that_fits_is_one_passage():
    assert split_passages(" short ", 5, _words_and_marks) == [(0, 7)]
    assert split_passages("", 5, _words_and_marks) == [(0, 0)]


def test_no_passage_of_the_embedded_encoder_is_truncated():
    encoder = EmbeddedEncoder(max_tokens=32)
    text = "Süße Æbleskiver, re-heated in Zürich! Don't ask. " * 20
    passages = split_passages(text, 30, encoder.token_spans)
    vectors = encoder.encode_document([text[start:end] for start, end in passages])
    assert len(passages) > 5
    assert not vectors.n_truncated.any()
    assert encoder.encode_document([text]).n_truncated[0] > 0


def test_a_passage_of_no_tokens_is_refused():
    with pytest.raises(ConfigError, match="at least 1 token, not 0"):
        split_passages("a", 0, _words_and_marks)
