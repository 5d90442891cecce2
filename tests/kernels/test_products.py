"""The small product against NumPy's, in double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.products import product


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 11), m=st.integers(0, 40), k=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
def test_product_is_the_matrix_product(n: int, m: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.standard_normal((n, m), np.float32), rng.standard_normal((m, k), np.float32)
    left.flags.writeable = bool(seed % 2)
    expected = left.astype(np.float64) @ right
    np.testing.assert_allclose(product(left, right), expected, rtol=1e-5, atol=1e-5)


def test_what_does_not_multiply_is_refused() -> None:
    square = np.zeros((4, 4), np.float32)
    for bad in (np.zeros((3, 4), np.float32), square.T[:, ::2], square.astype(np.float64), square[0]):
        with pytest.raises(KernelInputError):
            product(square, bad)
