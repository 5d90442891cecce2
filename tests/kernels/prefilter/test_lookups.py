"""Products with what codes stand for against NumPy, in lanes and row by row, in order."""

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
    n_dims=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    n=st.integers(0, 70),
    seed=st.integers(0, 2**32 - 1),
)
def test_products_are_those_with_what_the_codes_stand_for(
    n_parts: int, n_words: int, skipped: int, n_dims: list[int], n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    wholes = [
        rng.integers(0, 256, (int(rng.integers(1, 30)), skipped + 4 * n_words), dtype=np.uint8)
        for _ in range(n_parts)
    ]
    for whole in wholes:
        whole.flags.writeable = False
    parts = [whole[:, skipped:] for whole in wholes]
    # Some of the codes stand for one number, others for more.
    bounds = np.sort(rng.integers(0, 8 * n_words + 1, len(n_dims) - 1))
    sizes = np.diff([0, *bounds, 8 * n_words])
    centroids = [rng.standard_normal((size, 16, n)).astype(np.float32) for size, n in zip(sizes, n_dims)]
    query = rng.standard_normal(int(sizes @ n_dims)).astype(np.float32)
    codes = np.concatenate(parts)
    rows, products = rng.integers(0, len(codes), n), rng.standard_normal(n).astype(np.float32)
    halves = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)
    named = [
        some[np.arange(len(some)), own].reshape(len(codes), -1)
        for some, own in zip(centroids, np.split(halves, bounds, axis=1))
    ]
    decoded = np.concatenate(named, axis=1)
    expected = (decoded.astype(np.float64) @ query)[rows] + products
    lookups = Lookups(parts, centroids)
    assert len(lookups) == len(codes)
    # Sixteen at a time or one by one: the same to the bit.
    alone = [lookups.add_products_and_sort(rows[i : i + 1], products[i : i + 1], query) for i in range(n)]
    sums = np.array([one[0] for _, one in alone], np.float32)
    np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-3)
    found, best = lookups.add_products_and_sort(rows, products, query)
    order = np.argsort(-sums, kind="stable")
    np.testing.assert_array_equal(found, rows[order])
    np.testing.assert_array_equal(best, sums[order])


def test_what_does_not_fit_is_refused() -> None:
    codes, centroids = np.zeros((3, 8), np.uint8), np.zeros((16, 16, 2), np.float32)
    lookups = Lookups([codes], [centroids])
    rows, products, query = np.zeros(1, np.int64), np.zeros(1, np.float32), np.zeros(32, np.float32)
    with pytest.raises(KernelInputError, match=r"documents 0\.\.2"):
        lookups.add_products_and_sort(rows + 3, products, query)
    with pytest.raises(KernelInputError, match=r"products must be contiguous float32 \(1,\)"):
        lookups.add_products_and_sort(rows, products.astype(np.float64), query)
    with pytest.raises(KernelInputError, match=r"products must be contiguous float32 \(1,\)"):
        lookups.add_products_and_sort(rows, np.zeros(2, np.float32), query)
    with pytest.raises(KernelInputError, match=r"query must be contiguous float32 \(32,\)"):
        lookups.add_products_and_sort(rows, products, np.zeros(64, np.float32)[::2])
    for bad in (centroids.astype(np.float64), centroids[:, :, 0], centroids[:, :, :0], centroids[:, :8]):
        with pytest.raises(KernelInputError, match=r"centroids must be float32 \(n_codes, 16, n\)"):
            Lookups([codes], [bad])
    for several in ([centroids[:8]], [centroids, centroids[:1]], []):
        with pytest.raises(KernelInputError, match=r"centroids of \d+ codes, for 16"):
            Lookups([codes], several)
    for parts in (
        [codes[:, :6]],
        [codes.astype(np.int8)],
        [codes, codes[:, :4]],
        [codes[:, ::2]],
        [codes[0]],
        [],
    ):
        with pytest.raises(KernelInputError):
            Lookups(parts, [centroids])
