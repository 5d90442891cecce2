"""Queries made of documents, so that recall can be measured before anybody has sent a query."""

import numpy as np
import pytest

import colsearch_kernels as kernels
from colsearch.codec.rotated import EncodedTokens, RotatedCodec
from colsearch.prefilter import synthetic_queries
from colsearch.prefilter.synthetic_queries import paraphrase_queries, token_span_queries
from colsearch.types import F32
from tests.support.clusters import DIM, cluster_documents, draw_kinds

CODEC = RotatedCodec(DIM)


def encoded(documents: list[F32]) -> kernels.Codes:
    tokens = CODEC.encode(np.concatenate([np.zeros((0, DIM), np.float32), *documents]))
    offsets = np.cumsum([0, *(len(document) for document in documents)])
    return CODEC.codes(tokens.planes, tokens.widths, offsets)


def decoded(codes: kernels.Codes) -> list[F32]:
    """The token vectors of each document, decoded from its codes."""
    tokens = CODEC.decode(EncodedTokens(codes.planes, codes.widths))
    return np.split(tokens, codes.offsets[1:-1])


def nearest_elsewhere(token: F32, documents: list[F32], own: int) -> F32:
    others = np.concatenate([document for i, document in enumerate(documents) if i != own])
    nearest: F32 = others[np.argmax(others @ token)]
    return nearest


def test_each_token_gives_way_to_the_nearest_of_another_document() -> None:
    codes = encoded([*cluster_documents(300, 1, draw_kinds(0)), np.empty((0, DIM), np.float32)])
    documents = decoded(codes)
    owners = {token.tobytes(): i for i, document in enumerate(documents) for token in document}
    plain = token_span_queries(codes, CODEC, 20, np.random.default_rng(3))
    reworded = paraphrase_queries(codes, CODEC, 20, np.random.default_rng(3), 2)
    wanted = [
        np.array([nearest_elsewhere(token, documents, owners[token.tobytes()]) for token in run])
        for run in plain
    ]
    same = [(found == nearest).all(axis=1) for found, nearest in zip(reworded, wanted)]
    # The nearest token is chosen by the first plane alone, so a token that is almost as near may win.
    assert np.concatenate(same).mean() > 0.8
    for run, ours, best in zip(plain, reworded, wanted):
        assert (run * ours).sum() > (run * best).sum() - 0.02 * len(run)
        assert not any(owners[token.tobytes()] == owners[run[0].tobytes()] for token in ours)


def test_no_more_documents_are_looked_at_than_are_meant_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_queries, "_N_PARAPHRASING_DOCS", 7)
    codes = encoded(cluster_documents(300, 1, draw_kinds(0)))
    owners = {token.tobytes(): i for i, document in enumerate(decoded(codes)) for token in document}
    reworded = paraphrase_queries(codes, CODEC, 50, np.random.default_rng(3), 1)
    assert 2 <= len({owners[token.tobytes()] for run in reworded for token in run}) <= 7


def test_an_only_document_has_its_own_words() -> None:
    [document] = cluster_documents(1, 1, draw_kinds(0))
    codes = encoded([document])
    plain = token_span_queries(codes, CODEC, 5, np.random.default_rng(3))
    for run, same in zip(plain, paraphrase_queries(codes, CODEC, 5, np.random.default_rng(3), 1)):
        np.testing.assert_array_equal(run, same)
