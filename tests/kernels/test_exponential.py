"""Softmax against NumPy in double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colsearch_kernels import KernelInputError, softmax


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 9), m=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_softmax_of_rows(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, factors = rng.uniform(-1, 1, (n, m)).astype(np.float32), rng.uniform(0, 6, n).astype(np.float32)
    exponentials = np.exp(factors[:, None].astype(np.float64) * rows)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(rows, factors, 6.0), expected, rtol=2e-5)
    # Whatever the layout.
    np.testing.assert_allclose(softmax(np.asfortranarray(rows), factors, 6.0), expected, rtol=2e-5)


def test_what_does_not_fit_is_refused() -> None:
    rows, factors = np.zeros((2, 3), np.float32), np.ones(2, np.float32)
    for bad in ((rows.astype(np.float64), factors), (rows[0], factors), (rows, factors[:1])):
        with pytest.raises(KernelInputError):
            softmax(*bad, 1.0)
