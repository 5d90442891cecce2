"""ColIndex over texts with the embedded encoder, as the README uses it, and the errors of such use."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import colsearch
from colsearch import ColIndex
from colsearch.encoders import load_encoder
from colsearch.errors import DocumentError, EncoderError
from colsearch.types import TokenVectors

TEXTS = {
    "aspirin": "Aspirin inhibits the production of prostaglandins.",
    "danube": "The Danube flows through ten countries, more than any other river.",
    "café": "Ein Café 😀 in Zürich serves naïve customers.",
    "empty": "",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "index"
    with ColIndex.create(path) as index:
        index.add(TEXTS.values(), ids=TEXTS, metadata=[{"n": n} for n in range(len(TEXTS))])
    return path


@pytest.fixture
def index(path: Path) -> Iterator[ColIndex]:
    with ColIndex.open(path, read_only=True) as index:
        yield index


def test_the_right_text_is_found_and_comes_back(index):
    [hit] = index.search("Which river crosses the most borders?", k=1)
    assert (hit.id, hit.text, hit.metadata) == ("danube", TEXTS["danube"], {"n": 1})
    first, second = index.search(["effect of aspirin on the body", "coffee house in Switzerland"], k=1)
    assert [first[0].id, second[0].id] == ["aspirin", "café"]


def test_an_empty_text_is_kept_and_never_found(index):
    assert "empty" in index and index.get("empty").text == ""
    assert len(index.search("anything", k=10)) == len(TEXTS) - 1


def test_an_empty_query_is_refused(index):
    with pytest.raises(DocumentError, match="empty"):
        index.search("")


def test_explain_names_the_characters_that_matched(index):
    explanation = index.explain("coffee house in Zürich 😀", "café")
    assert explanation.score == pytest.approx(
        index.rerank("coffee house in Zürich 😀", ["café"])[0].score, rel=1e-6
    )
    assert sum(token.share for token in explanation.tokens) == pytest.approx(1)
    for token in explanation.tokens:
        if token.span is not None:
            start, end = token.span
            assert TEXTS["café"][start:end] == token.document_token
    assert any(token.document_token == "Zürich"[: len(token.document_token)] for token in explanation.tokens)
    assert "<script" not in explanation._repr_html_()


def test_another_encoder_is_refused_by_name(path):
    class Other:
        dim = 128
        fingerprint = "something else"

        def encode_query(self, texts: list[str]) -> TokenVectors: ...
        def encode_document(self, texts: list[str]) -> TokenVectors: ...

    with pytest.raises(EncoderError, match="something else"):
        ColIndex.open(path, encoder=Other())


def test_rerank_without_an_index_orders_texts():
    hits = colsearch.rerank("Which river crosses the most borders?", list(TEXTS.values()))
    assert hits[0].text == TEXTS["danube"] and hits[0].id == 1
    assert [hit.id for hit in hits if hit.text == ""] == []


def test_token_vectors_search_like_their_text(index):
    query = load_encoder(None).encode_query(["ten countries"]).vectors
    by_text, by_vectors = index.search("ten countries"), index.search(np.asarray(query))
    assert [(h.id, h.score) for h in by_text] == [(h.id, h.score) for h in by_vectors]


def test_progress_is_told_and_a_list_has_a_total(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    with ColIndex.create(tmp_path / "index") as index:
        index.add(["one", "two", "three"], progress=lambda done, total: calls.append((done, total)))
        index.add((text for text in ["four"]), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(3, 3), (1, None)]


def test_texts_that_the_encoder_cuts_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ColIndex.create(tmp_path / "index") as index:
        index.add(["short", "word " * 2000])
    assert "1 of 2 texts are longer than the encoder reads: their last 1490 tokens" in caplog.text
