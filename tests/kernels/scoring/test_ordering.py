"""Best first against a stable sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from colsearch_kernels import KernelInputError, best_first

_FLOATS = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf])


@settings(max_examples=200, deadline=None)
@given(values=arrays.arrays(np.float32, st.integers(0, 60), elements=_FLOATS))
def test_values_come_from_the_highest_to_the_lowest_of_equals_the_first_first(values: np.ndarray) -> None:
    np.testing.assert_array_equal(best_first(values), np.argsort(-values, kind="stable"))
    np.testing.assert_array_equal(best_first(np.repeat(values, 2)[::2]), best_first(values))


def test_what_does_not_fit_is_refused() -> None:
    for bad in (np.zeros(3), np.zeros((2, 2), np.float32)):
        with pytest.raises(KernelInputError, match="1-d float32"):
            best_first(bad)
