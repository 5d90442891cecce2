"""Products around one query against NumPy's, in double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colsearch_kernels import DotProducts, KernelInputError, QuantizedQuery, weighted_sum
from colsearch_kernels.reference import quantize_query


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 40), m=st.integers(0, 70), seed=st.integers(0, 2**32 - 1))
def test_weighted_sum_is_the_product_with_a_matrix(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, rows = rng.standard_normal(n, np.float32), rng.integers(-128, 128, (n, m)).astype(np.int8)
    weights.flags.writeable = rows.flags.writeable = bool(seed % 2)
    expected = weights.astype(np.float64) @ rows
    np.testing.assert_allclose(weighted_sum(weights, rows), expected, rtol=1e-5, atol=1e-3)


def quantized(n: int, n_dims: int, seed: int) -> QuantizedQuery:
    return quantize_query(np.random.default_rng(seed).standard_normal((n, n_dims), np.float32))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 20), n_others=st.integers(1, 70), words=st.integers(1, 40), seed=st.integers(0, 2**31)
)
def test_dot_products_are_those_of_the_integers(n: int, n_others: int, words: int, seed: int) -> None:
    tokens, others = quantized(n, 4 * words, seed), quantized(n_others, 4 * words, seed + 1)
    integers = tokens.values.astype(np.int64) @ others.values.T.astype(np.int64)
    expected = integers.astype(np.float32) * tokens.scales[:, None] * others.scales
    products = DotProducts(others)
    assert len(products) == n_others
    np.testing.assert_array_equal(products.of(tokens), expected)


def test_what_does_not_multiply_is_refused() -> None:
    weights, rows = np.zeros(4, np.float32), np.zeros((4, 6), np.int8)
    for bad in (weights[:3], weights.astype(np.float64), weights[None], np.zeros(8, np.float32)[::2]):
        with pytest.raises(KernelInputError):
            weighted_sum(bad, rows)
    for bad_rows in (rows.astype(np.uint8), rows[0], rows[:, ::2]):
        with pytest.raises(KernelInputError):
            weighted_sum(weights, bad_rows)
    with pytest.raises(KernelInputError, match="padded dim 8"):
        DotProducts(quantized(3, 12, 0)).of(quantized(3, 8, 1))
