"""FAISS over product codes against a plain product with the decoded vectors."""

import numpy as np
import pytest

from colsearch.prefilters.balancing import balanced_basis
from colsearch.prefilters.quantizer import (
    Quantizer,
    coarse_bytes,
    coarse_dims,
    row_bytes,
    whole_dims,
)
from colsearch.prefilters.vector_index import VectorIndex

N_DIMS = 96


def named(codes: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The centroids of 4-bit codes, side by side."""
    halves = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)
    return centroids[halves].reshape(len(codes), -1)


def decoded(codes: np.ndarray, quantizer: Quantizer) -> np.ndarray:
    n_coarse, n_bytes = coarse_dims(N_DIMS), coarse_bytes(N_DIMS)
    end = n_bytes + n_coarse // 4
    first = named(codes[:, :n_bytes], quantizer.coarse) + named(codes[:, n_bytes:end], quantizer.residual)
    return np.concatenate([first, named(codes[:, end:], quantizer.rest)], axis=1)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3000, N_DIMS), np.float32)


def test_codes_name_the_nearest_centroids_and_then_those_of_what_is_left(vectors: np.ndarray) -> None:
    quantizer = Quantizer.train(vectors)
    codes = quantizer.encode(vectors)
    assert codes.shape == (3000, row_bytes(N_DIMS)) and row_bytes(N_DIMS) == 8 + 16 + 8
    n_coarse = coarse_dims(N_DIMS)
    assert n_coarse == 64

    def nearest(side: np.ndarray, centroids: np.ndarray) -> np.ndarray:
        groups = side.reshape(len(side), -1, 1, centroids.shape[1])
        return centroids[np.square(groups - centroids).sum(-1).argmin(-1)].reshape(side.shape)

    coarse = nearest(vectors[:, :n_coarse], quantizer.coarse)
    residual = nearest(vectors[:, :n_coarse] - coarse, quantizer.residual)
    rest = nearest(vectors[:, n_coarse:], quantizer.rest)
    np.testing.assert_allclose(
        decoded(codes, quantizer), np.concatenate([coarse + residual, rest], 1), atol=1e-6
    )


def test_search_is_the_best_of_the_products_with_what_is_stored(vectors: np.ndarray) -> None:
    quantizer = Quantizer.train(vectors)
    codes = quantizer.encode(vectors)
    index = VectorIndex([codes[:1000], codes[1000:1000], codes[1000:]], quantizer, N_DIMS)
    query = np.random.default_rng(1).standard_normal(N_DIMS, np.float32)
    true = decoded(codes, quantizer) @ query
    rows, products = index.search(query, 3000)
    assert sorted(rows) == list(range(3000)) and (np.diff(products) <= 0).all()
    # FAISS sums bytes, so coarse products are right to about a hundredth of their range; fine ones are exact.
    np.testing.assert_allclose(products, true[rows], atol=0.02 * np.ptp(true))
    # The best by coarse codes alone, in the order of all codes.
    coarse = named(codes[:, : coarse_bytes(N_DIMS)], quantizer.coarse) @ query[: coarse_dims(N_DIMS)]
    rows, products = index.search(query, 200)
    assert coarse[rows].min() >= np.sort(coarse)[-200] - 0.04 * np.ptp(coarse)
    np.testing.assert_allclose(products, true[rows], atol=0.02 * np.ptp(true))
    among = np.zeros(3000, bool)
    among[5::97] = True
    rows, _ = index.search(query, 3000, among)
    assert sorted(rows) == list(range(5, 3000, 97))


@pytest.mark.parametrize("n_dims", [1, 47, 48, 100, 767, 768, 1024])
def test_every_row_of_codes_is_whole_words(n_dims: int) -> None:
    whole = whole_dims(n_dims)
    assert whole % 16 == 0 and coarse_dims(whole) < whole and (n_dims < 48 or n_dims - 16 < whole <= n_dims)
    assert coarse_bytes(whole) % 4 == 0 and (row_bytes(whole) - coarse_bytes(whole)) % 4 == 0
    assert row_bytes(768) == 256


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
    # Products of the standard deviations are 3, .2, 2 and 0.
    np.testing.assert_allclose(to_documents @ to_queries.T, np.diag([1.0, 0, 1, 0]), atol=1e-4)
    for side, moments in ((to_documents, documents), (to_queries, queries)):
        spread = side.T @ moments @ side
        np.testing.assert_allclose(np.linalg.eigvalsh(spread), [2, 3], rtol=1e-3)
