"""FAISS over product codes against a plain product with the decoded vectors."""

import numpy as np
import pytest

from colsearch.prefilters.balancing import balanced_basis
from colsearch.prefilters.vector_index import VectorIndex, quantize, train_quantizer


def decoded(codes: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    halves = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)
    return np.stack([centroids[group][halves[:, group]] for group in range(len(centroids))], 1).reshape(
        len(codes), -1
    )


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3000, 32), np.float32)


def test_search_is_the_best_of_the_products_with_what_is_stored(vectors: np.ndarray) -> None:
    centroids = train_quantizer(vectors)
    codes = quantize(vectors, centroids)
    assert codes.shape == (3000, 8) and centroids.shape == (16, 16, 2)
    stored = decoded(codes, centroids)
    nearest = ((vectors.reshape(3000, 16, 1, 2) - centroids) ** 2).sum(-1).argmin(-1)
    np.testing.assert_allclose(stored, centroids[np.arange(16), nearest].reshape(3000, 32))
    index = VectorIndex(codes, centroids)
    query = np.random.default_rng(1).standard_normal(32, np.float32)
    true = stored @ query
    rows, products = index.search(query, 50)
    # FAISS sums bytes, so products are right to about a hundredth of their range.
    np.testing.assert_allclose(products, true[rows], atol=0.02 * np.ptp(true))
    assert true[rows].min() >= np.sort(true)[-50] - 0.04 * np.ptp(true)
    among = np.zeros(3000, bool)
    among[5::97] = True
    rows, _ = index.search(query, 3000, among)
    assert sorted(rows) == list(range(5, 3000, 97))


def test_the_balanced_basis_keeps_products_and_quantizes_better() -> None:
    rng = np.random.default_rng(2)
    mixing = rng.standard_normal((64, 64)) * np.exp(-np.arange(64) / 8)
    documents = (rng.standard_normal((4000, 64)) @ mixing.T).astype(np.float32)
    queries = (rng.standard_normal((4000, 64)) @ np.linalg.qr(rng.standard_normal((64, 64)))[0]).astype(
        np.float32
    )
    queries *= np.linspace(0.1, 5, 64, dtype=np.float32)
    to_documents, to_queries = balanced_basis(documents, queries, 64, seed=0)
    true = queries[:50] @ documents.T
    balanced_documents, balanced_queries = documents @ to_documents, queries @ to_queries
    np.testing.assert_allclose(
        balanced_queries[:50] @ balanced_documents.T, true, atol=0.01 * np.abs(true).max()
    )

    def error(side: np.ndarray, other: np.ndarray) -> float:
        centroids = train_quantizer(side)
        return float(np.square(other[:50] @ decoded(quantize(side, centroids), centroids).T - true).mean())

    assert error(balanced_documents, balanced_queries) < 0.5 * error(documents, queries)
