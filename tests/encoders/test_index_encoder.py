"""An index loads the encoder that it names at first use, and takes no other."""

from pathlib import Path

import numpy as np
import pytest

from colsearch import encoders
from colsearch.config import IndexConfig
from colsearch.encoders.index_encoder import IndexEncoder, new_index_config
from colsearch.errors import ConfigError, EncoderError
from colsearch.types import TokenVectors

PATH = Path("the/index")


class Constant:
    """An encoder of one token per text, which knows no spans."""

    def __init__(self, dim: int = 4, fingerprint: str = "constant") -> None:
        self.dim = dim
        self.fingerprint = fingerprint

    def encode_query(self, texts: list[str]) -> TokenVectors:
        return TokenVectors(np.ones((len(texts), self.dim), np.float32), np.ones(len(texts), np.int64))

    encode_document = encode_query


def config(encoder: str | None, fingerprint: str | None = "constant", dim: int = 4) -> IndexConfig:
    return IndexConfig(dim, (4, 4), 7, encoder, fingerprint)


def test_the_encoder_that_an_index_names_is_loaded_once_and_only_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[object] = []

    def load(name: object) -> Constant:
        loaded.append(name)
        return Constant()

    monkeypatch.setattr(encoders, "load_encoder", load)
    encoder = IndexEncoder(config("some/model"), PATH, None)
    assert encoder.available and loaded == []
    assert len(encoder.encode_query(["a", "b"])) == 2 and len(encoder.encode_document(["a"])) == 1
    assert loaded == ["some/model"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Constant(fingerprint="other"), "the/index was built with encoder constant, this one is other"),
        (Constant(dim=5), "the encoder has dim 5, the/index has 4"),
    ],
)
def test_another_encoder_is_refused_whether_it_is_given_or_loaded(
    other: Constant, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EncoderError, match=message):
        IndexEncoder(config(""), PATH, other)
    monkeypatch.setattr(encoders, "load_encoder", lambda name: other)
    with pytest.raises(EncoderError, match=message):
        IndexEncoder(config("some/model"), PATH, None).get()


def test_an_index_of_vectors_has_no_encoder_until_one_is_given() -> None:
    without = IndexEncoder(config("", None), PATH, None)
    assert not without.available
    with pytest.raises(EncoderError, match="the/index holds vectors made outside colsearch"):
        without.encode_query(["a"])
    assert IndexEncoder(config("", None), PATH, Constant()).available


def test_an_encoder_without_spans_cannot_cut_texts() -> None:
    with pytest.raises(EncoderError, match="token_spans"):
        IndexEncoder(config(""), PATH, Constant()).token_spans()


def test_a_new_index_has_an_encoder_or_a_dim_and_not_both() -> None:
    assert new_index_config(None, dim=4, planes=[4, 4], seed=1) == (IndexConfig(4, (4, 4), 1, ""), None)
    with pytest.raises(ConfigError, match="not both"):
        new_index_config("some/model", dim=4, planes=[4, 4], seed=1)
