"""Any object with the two methods becomes an encoder, and its mistakes become typed errors."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from colsearch import ColIndex, TokenVectors
from colsearch.encoders import Encoder, load_encoder
from colsearch.errors import EncoderError, ShapeError


class Letters:
    """One vector per letter, as arrays."""

    def encode_query(self, texts):
        return self.encode_document(texts)

    def encode_document(self, texts):
        return [np.eye(26)[[ord(letter) % 26 for letter in text]].reshape(-1, 26) for text in texts]


class Tensors(Letters):
    """The same in bfloat16, with gradients."""

    def encode_document(self, texts):
        arrays = super().encode_document(texts)
        return [torch.tensor(array, dtype=torch.bfloat16, requires_grad=True) for array in arrays]


class Padded(Letters):
    def encode_document(self, texts):
        return np.zeros((len(texts), 5, 26))


@pytest.mark.parametrize("kind", [Letters, Tensors])
def test_arrays_and_tensors_are_put_end_to_end(kind):
    encoder = load_encoder(kind())
    assert isinstance(encoder, Encoder)
    vectors = encoder.encode_document(["ab", "", "b"])
    assert encoder.dim == 26
    assert vectors.doclens.tolist() == [2, 0, 1]
    assert vectors.vectors.dtype == np.float32
    assert vectors.vectors.argmax(axis=1).tolist() == [19, 20, 20]
    assert encoder.encode_document([]).vectors.shape == (0, 26)


def test_an_empty_query_is_an_error():
    with pytest.raises(EncoderError, match="query 1"):
        load_encoder(Letters()).encode_query(["a", ""])


def test_a_padded_array_is_refused():
    """Padding would have similarity 0, which beats a negative one."""
    encoder = Padded()
    encoder.dim = 26
    with pytest.raises(EncoderError, match="perhaps padded"):
        load_encoder(encoder).encode_document(["a"])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ([np.zeros((1, 26))], "1 arrays for 2 texts"),
        ([np.zeros((1, 26)), np.zeros((1, 7))], "text 1 was encoded in 7 dimensions, not 26"),
        ([np.zeros(26), np.zeros(26)], r"shape \(26,\), not \(n_tokens, dim\)"),
        (
            [np.zeros((1, 26)), [[1.0], [1.0, 2.0]]],
            "cannot be used: token vectors are one array, not a ragged list",
        ),
    ],
)
def test_wrong_output_is_an_error(output, message):
    encoder = load_encoder(Letters())
    encoder._encoder.encode_document = lambda texts: output
    with pytest.raises(EncoderError, match=message):
        encoder.encode_document(["a", "b"])


def test_the_objects_own_fingerprint_is_used():
    encoder = Letters()
    anonymous = load_encoder(encoder).fingerprint
    assert anonymous == load_encoder(Letters()).fingerprint != load_encoder(Tensors()).fingerprint
    encoder.fingerprint = "letters-1"
    assert load_encoder(encoder).fingerprint == "letters-1"


@pytest.mark.parametrize("spec", [7, object(), Letters])
def test_anything_else_is_refused(spec):
    with pytest.raises(EncoderError, match="is no encoder: give a checkpoint's name"):
        load_encoder(spec)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [(np.ones((1, 26)), "float32 array, not <f8"), (np.ones((1, 7), np.float32), "(1, 7)")],
)
def test_an_encoder_of_another_dtype_or_dim_than_it_says_is_refused_by_the_index(tmp_path, vectors, message):
    encoder = SimpleNamespace(dim=26, fingerprint="wrong")
    encoder.encode_query = encoder.encode_document = lambda texts: TokenVectors(vectors, np.ones(1, np.int64))
    assert load_encoder(encoder) is encoder
    with ColIndex.create(tmp_path / "index", encoder) as index:
        with pytest.raises(ShapeError, match=re.escape(message)):
            index.add(["a"])
        assert len(index) == 0
