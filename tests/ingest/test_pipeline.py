"""How a stream of documents is cut for the encoder."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from colsearch.errors import DocumentError, VectorError
from colsearch.ingest import pipeline
from colsearch.types import Document, TokenVectors


def one_token_each(texts: Sequence[str]) -> TokenVectors:
    return TokenVectors(np.ones((len(texts), 4), np.float32), np.ones(len(texts), np.int64))


def cut(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of the documents in each batch, for texts of these lengths."""
    documents = ((Document(i, "x" * n), None) for i, n in enumerate(lengths))
    return [
        [document.id for document in batch] for batch, _ in pipeline.encoded_texts(documents, one_token_each)
    ]


@pytest.mark.parametrize(
    ("n_chars", "n_docs", "expected"),
    [
        (0, 1100, [512, 512, 76]),
        (256, 1100, [512, 512, 76]),
        (2000, 300, [132, 132, 36]),
        (1 << 13, 40, [32, 8]),
        (1_000_000, 40, [32, 8]),
        (10, 512, [512]),
    ],
)
def test_long_texts_come_in_smaller_batches(n_chars, n_docs, expected):
    batches = cut([n_chars] * n_docs)
    assert [len(batch) for batch in batches] == expected
    assert [i for batch in batches for i in batch] == list(range(n_docs))


def test_no_more_is_taken_from_the_stream_than_a_batch_needs():
    taken: list[int] = []

    def stream() -> Iterator[tuple[Document, object]]:
        for i in range(1000):
            taken.append(i)
            yield Document(i, "x" * 5000), None

    next(pipeline.encoded_texts(stream(), one_token_each))
    assert len(taken) == 53


def test_no_documents_are_no_batches():
    assert cut([]) == []


def test_an_encoder_that_loses_a_text_is_an_error():
    documents = iter([(Document(i, "a"), None) for i in range(3)])
    with pytest.raises(DocumentError, match="2 results for 3 texts"):
        list(pipeline.encoded_texts(documents, lambda texts: one_token_each(texts[1:])))


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "holds NaN"), (0, "is all zeros"), (1e30, "too large to square")]
)
def test_a_bad_vector_is_named_by_its_document_and_token(value, what):
    """Also among tokenless documents, at the end of one batch and at the start of the next."""
    for culprit, token in ((3, 0), (511, 2), (512, 0), (599, 1)):
        documents = []
        for i in range(600):
            vectors = np.ones((i % 3, 4), np.float32)
            if i == culprit:
                vectors = np.ones((3, 4), np.float32)
                vectors[token] = value
            documents.append((Document(f"n{i}", None), vectors))
        with (
            np.errstate(over="ignore"),
            pytest.raises(VectorError, match=f"document 'n{culprit}': token {token} .*{what}"),
        ):
            list(pipeline.given_vectors(iter(documents), 4))
