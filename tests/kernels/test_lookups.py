"""Sums of table entries against NumPy, in lanes and row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colsearch_kernels import KernelInputError, Lookups


@settings(max_examples=60, deadline=None)
@given(
    n_parts=st.integers(1, 3),
    n_words=st.integers(1, 40),
    skipped=st.sampled_from([0, 4, 13]),
    n=st.integers(0, 70),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_are_those_of_the_entries_that_the_codes_name(
    n_parts: int, n_words: int, skipped: int, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    wholes = [
        rng.integers(0, 256, (int(rng.integers(1, 30)), skipped + 4 * n_words), dtype=np.uint8)
        for _ in range(n_parts)
    ]
    for whole in wholes:
        whole.flags.writeable = False
    parts = [whole[:, skipped:] for whole in wholes]
    tables = rng.standard_normal((8 * n_words, 16)).astype(np.float32)
    codes = np.concatenate(parts)
    rows = rng.integers(0, len(codes), n)
    halves = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)
    expected = tables[np.arange(8 * n_words), halves].astype(np.float64).sum(axis=1)
    lookups = Lookups(parts)
    assert len(lookups) == len(codes)
    sums = lookups.sums(rows, tables)
    np.testing.assert_allclose(sums, expected[rows], rtol=1e-4, atol=1e-4)
    # Sixteen at a time or one by one: the same to the bit.
    alone = [lookups.sums(rows[i : i + 1], tables)[0] for i in range(n)]
    np.testing.assert_array_equal(sums, np.array(alone, np.float32))


def test_what_does_not_fit_is_refused() -> None:
    codes, tables = np.zeros((3, 8), np.uint8), np.zeros((16, 16), np.float32)
    lookups = Lookups([codes])
    with pytest.raises(KernelInputError, match=r"documents 0\.\.2"):
        lookups.sums(np.array([3]), tables)
    with pytest.raises(KernelInputError, match="float32"):
        lookups.sums(np.array([0]), tables.astype(np.float64))
    with pytest.raises(KernelInputError, match=r"\(16, 16\)"):
        lookups.sums(np.array([0]), tables[:8])
    for bad in (
        [codes[:, :6]],
        [codes.astype(np.int8)],
        [codes, codes[:, :4]],
        [codes[:, ::2]],
        [codes[0]],
        [],
    ):
        with pytest.raises(KernelInputError):
            Lookups(bad)
