"""Products around one query against NumPy's, in double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colsearch_kernels import DotProducts, KernelInputError, QuantizedQuery
from colsearch_kernels.reference import quantize_query


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
    products = DotProducts(quantized(3, 12, 0))
    with pytest.raises(KernelInputError, match="padded dim 8"):
        products.of(quantized(3, 8, 1))
    with pytest.raises(KernelInputError, match="whole 32-bit words"):
        DotProducts(quantized(3, 11, 0))
