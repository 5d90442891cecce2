"""Numbers of ragged ranges, against a loop."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from colsearch_kernels.layout.ragged import indices_of_ranges


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 9))))
def test_ranges_come_one_after_another(ranges: list[tuple[int, int]]) -> None:
    starts, lengths = (np.array([pair[i] for pair in ranges], np.int64) for i in (0, 1))
    expected = [start + i for start, length in ranges for i in range(length)]
    found = indices_of_ranges(starts, lengths)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)
