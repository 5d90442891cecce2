"""Checkpoints of the three formats have the vectors of a plain loader, with the spans of their tokens."""

import shutil
import string
import unicodedata

import numpy as np
import pytest
import torch

from colsearch.encoders import load_encoder
from colsearch.encoders.sentence_transformer import SentenceTransformerEncoder
from colsearch.errors import EncoderError
from tests.support.checkpoints import (
    DIM,
    MAX_DOCUMENT,
    MAX_QUERY,
    encode_plainly,
    write_native,
    write_pylate,
    write_stanford,
)

FORMATS = {"stanford": write_stanford, "pylate": write_pylate, "native": write_native}
TEXTS = [
    "The red fox, in Zürich, jumps over 2 lazy dogs!",
    "naïve 😀 café",
    "fox",
    "one two three four five six " * 6,
]


@pytest.fixture(scope="module", params=FORMATS)
def folder(request, tmp_path_factory):
    return FORMATS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def encoder(folder):
    return SentenceTransformerEncoder(folder, compute="float32")


def _split(vectors):
    return np.split(vectors.vectors, np.cumsum(vectors.doclens)[:-1])


def test_documents_are_those_of_a_plain_loader(folder, encoder):
    for text in TEXTS:
        expected = encode_plainly(folder, text, query=False)
        vectors = encoder.encode_document([text]).vectors
        assert vectors.shape == expected.shape
        # The encoder normalises twice, which can change the last bit.
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=1.2e-7)


def test_queries_are_those_of_a_plain_loader(folder, encoder):
    for text in TEXTS:
        expected = encode_plainly(folder, text, query=True)
        vectors = encoder.encode_query([text]).vectors
        assert vectors.shape == expected.shape
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=1.2e-7)


def test_the_model_itself_differs_from_a_plain_loader_by_nothing(folder, encoder):
    for text in TEXTS:
        mine = encode_plainly(folder, text, query=False)
        theirs = encoder._model.encode_document([text], convert_to_numpy=True)[0]
        assert np.abs(mine - theirs).max() == 0


def test_a_batch_differs_from_single_texts_by_rounding_only(encoder):
    together = _split(encoder.encode_document(TEXTS))
    for text, vectors in zip(TEXTS, together):
        np.testing.assert_allclose(encoder.encode_document([text]).vectors, vectors, atol=2e-6)


def test_spans_are_the_tokens_in_the_text(folder, encoder):
    """The n-th span with text is the n-th token that prefix, truncation and skiplist leave."""
    tokenizer, skips = encoder._model.tokenizer, folder.name != "saved"
    vectors = encoder.encode_document(TEXTS)
    assert vectors.spans is not None
    for text, spans in zip(TEXTS, np.split(vectors.spans, np.cumsum(vectors.doclens)[:-1])):
        pieces = tokenizer.tokenize(text)[: MAX_DOCUMENT - 3]
        pieces = [piece for piece in pieces if not (skips and piece in string.punctuation)]
        words = [text[start:end] for start, end in spans if end > start]
        assert len(words) == len(pieces)
        for word, piece in zip(words, pieces):
            assert _bare(word) == piece.removeprefix("##") or piece == "[UNK]"


def _bare(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(letter for letter in decomposed if unicodedata.category(letter) != "Mn")


def test_query_spans_cover_the_words_and_nothing_else(encoder):
    text = "red fox"
    vectors = encoder.encode_query([text])
    words = [text[start:end] for start, end in vectors.spans if end > start]
    assert words == ["red", "fox"]
    assert len(vectors.spans) == vectors.doclens[0]


def test_truncation_is_counted(folder, encoder):
    vectors = encoder.encode_document([TEXTS[3], "fox"])
    # 36 words, [CLS], [SEP] and a prefix of one token.
    assert vectors.n_truncated.tolist() == [36 + 3 - MAX_DOCUMENT, 0]
    assert vectors.doclens[0] == MAX_DOCUMENT
    if folder.name != "saved":
        query = encoder.encode_query([TEXTS[3]])
        assert query.n_truncated.tolist() == [36 + 3 - MAX_QUERY]


def test_blank_documents_have_no_vectors_and_blank_queries_are_errors(encoder):
    vectors = encoder.encode_document(["", "fox", " \n"])
    assert vectors.doclens[[0, 2]].tolist() == [0, 0]
    np.testing.assert_array_equal(vectors.vectors, encoder.encode_document(["fox"]).vectors)
    assert len(vectors.spans) == vectors.doclens.sum()
    assert encoder.encode_document([]).vectors.shape == (0, DIM)
    assert encoder.encode_document([""]).vectors.shape == (0, DIM)
    with pytest.raises(EncoderError, match=r"query 1 .* at least one word"):
        encoder.encode_query(["fox", "  "])


def test_the_fingerprint_names_weights_not_paths(folder, encoder, tmp_path):
    shutil.copytree(folder, tmp_path / "moved")
    moved = load_encoder(str(tmp_path / "moved"))
    assert moved.fingerprint == encoder.fingerprint
    assert SentenceTransformerEncoder(folder, compute="bfloat16").fingerprint == encoder.fingerprint


def test_one_changed_weight_is_another_encoder(folder, encoder):
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    assert load_encoder(model).fingerprint == encoder.fingerprint
    with torch.no_grad():
        next(model[1].parameters())[0, 0] += 1e-3
    assert load_encoder(model).fingerprint != encoder.fingerprint


def test_pooled_vectors_have_no_spans(folder):
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    model = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    model.append(HierarchicalTokenPooling(2))
    pooled = load_encoder(model)
    assert pooled.encode_document(TEXTS).spans is None
    assert pooled.encode_document(TEXTS).doclens.sum() < sum(
        len(encode_plainly(folder, text, query=False)) for text in TEXTS
    )
    assert pooled.encode_query(["red fox"]).spans is not None


def test_bfloat16_vectors_have_unit_length(folder):
    rough = SentenceTransformerEncoder(folder, compute="bfloat16")
    norms = np.linalg.norm(rough.encode_document(TEXTS).vectors, axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)


def test_token_spans_know_no_length_limit(encoder):
    spans = encoder.token_spans(TEXTS[3])
    assert len(spans) == 36
    assert [TEXTS[3][start:end] for start, end in spans] == TEXTS[3].split()
