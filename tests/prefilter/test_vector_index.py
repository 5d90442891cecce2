"""FAISS over product codes against a plain product with the decoded vectors."""

from itertools import pairwise

import numpy as np
import pytest

from colsearch.prefilter.balance import balanced_basis
from colsearch.prefilter.quantizer import (
    DocumentCodes,
    Quantizer,
    coarse_dims,
    stage_bytes,
    whole_dims,
)
from colsearch.prefilter.vector_index import VectorIndex

N_DIMS = 96


def named(codes: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The centroids that 4-bit codes name, end to end in each row."""
    halves = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)
    return centroids[halves].reshape(len(codes), -1)


def decoded(codes: DocumentCodes, quantizer: Quantizer) -> np.ndarray:
    """(n, N_DIMS) vectors, decoded from all stages."""
    end = stage_bytes(N_DIMS)[0]
    first = (
        named(codes.coarse, quantizer.coarse)
        + named(codes.middle, quantizer.middle)
        + named(codes.fine[:, :end], quantizer.fine)
    )
    return np.concatenate([first, named(codes.fine[:, end:], quantizer.tail)], axis=1)


def slices(codes: DocumentCodes, *bounds: int) -> list[DocumentCodes]:
    return [DocumentCodes(*(stage[a:b] for stage in codes)) for a, b in pairwise(bounds)]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3000, N_DIMS), np.float32)


def test_codes_name_the_nearest_centroids_and_then_those_of_what_is_left(vectors: np.ndarray) -> None:
    quantizer = Quantizer.train(vectors)
    codes = quantizer.encode(vectors)
    n_coarse = coarse_dims(N_DIMS)
    assert n_coarse == 32 and stage_bytes(N_DIMS) == (4, 8, 4 + 16)
    assert [stage.shape for stage in codes] == [(3000, n_bytes) for n_bytes in stage_bytes(N_DIMS)]

    def nearest(side: np.ndarray, centroids: np.ndarray) -> np.ndarray:
        groups = side.reshape(len(side), -1, 1, centroids.shape[1])
        return centroids[np.square(groups - centroids).sum(-1).argmin(-1)].reshape(side.shape)

    rounded = np.zeros((3000, n_coarse), np.float32)
    for centroids in (quantizer.coarse, quantizer.middle, quantizer.fine):
        rounded += nearest(vectors[:, :n_coarse] - rounded, centroids)
    others = nearest(vectors[:, n_coarse:], quantizer.tail)
    np.testing.assert_allclose(decoded(codes, quantizer), np.concatenate([rounded, others], 1), atol=1e-5)


def test_search_is_the_best_of_the_products_with_what_is_stored(vectors: np.ndarray) -> None:
    quantizer = Quantizer.train(vectors)
    codes = quantizer.encode(vectors)
    index = VectorIndex(slices(codes, 0, 1000, 1000, 3000), quantizer, N_DIMS)
    query = np.random.default_rng(1).standard_normal(N_DIMS, np.float32)
    true = decoded(codes, quantizer) @ query
    rows, products = index.search(query, 3000)
    assert sorted(rows) == list(range(3000)) and (np.diff(products) <= 0).all()
    # FAISS sums bytes, so coarse products are right to about a hundredth of their range; fine ones are exact.
    np.testing.assert_allclose(products, true[rows], atol=0.02 * np.ptp(true))
    # Coarse codes keep about three times as many, the middle ones the best third of these, and all stages
    # together order them.
    n_coarse = coarse_dims(N_DIMS)
    coarse = named(codes.coarse, quantizer.coarse) @ query[:n_coarse]
    rows, products = index.search(query, 100)
    assert len(rows) == 100 and (np.diff(products) <= 0).all()
    np.testing.assert_allclose(products, true[rows], atol=0.02 * np.ptp(true))
    assert coarse[rows].min() >= np.sort(coarse)[-600] - 0.04 * np.ptp(coarse)
    strongest = coarse + named(codes.middle, quantizer.middle) @ query[:n_coarse]
    found = np.argsort(-coarse)[:180]
    kept = found[np.argsort(-strongest[found])[:60]]
    assert np.isin(kept, rows).mean() > 0.95
    among = np.zeros(3000, bool)
    among[5::97] = True
    rows, _ = index.search(query, 3000, among)
    assert sorted(rows) == list(range(5, 3000, 97))
    rows, products = index.search(query, 10, np.zeros(3000, bool))
    assert len(rows) == len(products) == 0


@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_a_sample_says_how_good_documents_must_be(share: float) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((40_000, N_DIMS), np.float32)
    # Rows with high products lie at one end, since the queries below have a large first dim.
    vectors = vectors[vectors[:, 0].argsort()]
    quantizer = Quantizer.train(vectors[::10])
    codes = quantizer.encode(vectors)
    index = VectorIndex(slices(codes, 0, 7, 30_000, 40_000), quantizer, N_DIMS)
    among = None if share == 1 else rng.random(40_000) < share
    n_found = []
    for query in rng.standard_normal((30, N_DIMS), np.float32):
        query[0] += 4
        rows, _ = index._coarse_search(query[: coarse_dims(N_DIMS)], 500, among)
        assert among is None or among[rows].all()
        n_found.append(len(rows))
        rows, _ = index.search(query, 500, among)
        assert len(rows) == len(np.unique(rows)) == min(500, 40_000 if among is None else among.sum())
    allowed = 40_000 if among is None else int(among.sum())
    if allowed < 1500:
        assert set(n_found) == {allowed}
    else:
        assert 1200 < np.mean(n_found) < 1800 and np.std(n_found) > 0


def test_documents_that_are_alike_are_found_as_often_as_they_are_wanted(vectors: np.ndarray) -> None:
    quantizer = Quantizer.train(vectors)
    alike = np.concatenate([np.repeat(vectors[:1], 20_000, axis=0), vectors])
    for many in (alike, alike[:20_000]):
        index = VectorIndex([quantizer.encode(many)], quantizer, N_DIMS)
        for query in (vectors[0], -vectors[0], vectors[1]):
            rows, products = index.search(query, 200)
            assert len(np.unique(rows)) == 200 and (np.diff(products) <= 0).all()
            true = decoded(quantizer.encode(many[rows]), quantizer) @ query
            np.testing.assert_allclose(products, true, atol=0.5)


@pytest.mark.parametrize("n_dims", [1, 47, 48, 100, 767, 768, 1024])
def test_every_row_of_codes_is_whole_words(n_dims: int) -> None:
    whole = whole_dims(n_dims)
    assert whole % 16 == 0 and coarse_dims(whole) < whole and (n_dims < 48 or n_dims - 16 < whole <= n_dims)
    assert all(n_bytes % 4 == 0 for n_bytes in stage_bytes(whole))
    assert stage_bytes(768) == (32, 64, 160)


def test_the_balanced_basis_keeps_products_and_quantizes_better() -> None:
    rng = np.random.default_rng(2)
    mixing = rng.standard_normal((96, 96)) * np.exp(-np.arange(96) / 8)
    documents = (rng.standard_normal((4000, 96)) @ mixing.T).astype(np.float32)
    queries = (rng.standard_normal((4000, 96)) @ np.linalg.qr(rng.standard_normal((96, 96)))[0]).astype(
        np.float32
    )
    queries *= np.linspace(0.1, 5, 96, dtype=np.float32)
    moments = (rows.T.astype(float) @ rows / len(rows) for rows in (documents, queries))
    bases = balanced_basis(*moments, (64, 32), seed=0)
    to_documents, to_queries = (basis.astype(np.float32) for basis in bases)
    true = queries[:50] @ documents.T
    balanced_documents, balanced_queries = documents @ to_documents, queries @ to_queries
    np.testing.assert_allclose(
        balanced_queries[:50] @ balanced_documents.T, true, atol=0.01 * np.abs(true).max()
    )

    def error(side: np.ndarray, other: np.ndarray) -> float:
        quantizer = Quantizer.train(side)
        return float(np.square(other[:50] @ decoded(quantizer.encode(side), quantizer).T - true).mean())

    assert error(balanced_documents, balanced_queries) < 0.5 * error(documents, queries)


def test_the_balanced_basis_drops_the_directions_that_products_need_least() -> None:
    documents = np.diag([9.0, 4.0, 1.0, 0.0])
    queries = np.diag([1.0, 0.01, 4.0, 100.0])
    to_documents, to_queries = balanced_basis(documents, queries, (2,), seed=0)
    # The products of the two standard deviations are 3, .2, 2 and 0, so the first and the third dim are kept.
    np.testing.assert_allclose(to_documents @ to_queries.T, np.diag([1.0, 0, 1, 0]), atol=1e-4)
    for side, moments in ((to_documents, documents), (to_queries, queries)):
        spread = side.T @ moments @ side
        np.testing.assert_allclose(np.linalg.eigvalsh(spread), [2, 3], rtol=1e-3)
