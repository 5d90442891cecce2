"""One pool: many threads at once, after a fork, beside torch's and FAISS's, always the same bits."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import colsearch_kernels as kernels
from tests.support.children import run_in_child
from tests.support.codes import draw_codes, draw_query


@pytest.fixture(scope="module")
def work() -> tuple[kernels.QuantizedQuery, kernels.Codes]:
    rng = np.random.default_rng(4)
    codes = draw_codes(rng, 128, (4, 4), rng.integers(0, 60, 1500).tolist())
    return draw_query(rng, 32, codes.padded_dim), codes


def test_any_number_of_threads_gives_the_same_bits(work) -> None:
    query, codes = work
    expected = kernels.score_codes(query, codes)
    for n_threads in (2, 3, 8):
        np.testing.assert_array_equal(kernels.score_codes(query, codes, n_threads=n_threads), expected)


def test_many_callers_at_once(work) -> None:
    query, codes = work
    expected = kernels.score_codes(query, codes)
    vectors = np.random.default_rng(5).standard_normal((3000, 64), np.float32)
    doclens = np.full(100, 30)
    floats = kernels.maxsim(vectors[:9], vectors, doclens)

    def call(n: int) -> bool:
        if n % 3 == 0:
            return np.array_equal(kernels.maxsim(vectors[:9], vectors, doclens, n_threads=2), floats)
        return np.array_equal(kernels.score_codes(query, codes, n_threads=1 + n % 4), expected)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(120)))


def test_a_child_has_a_pool_of_its_own(work) -> None:
    query, codes = work
    expected = kernels.score_codes(query, codes, n_threads=4)
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            kernels.score_codes(query, codes, n_threads=4)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        # Forked while the pool works: its threads and whatever they hold are not in the child.
        for _ in range(5):
            found = run_in_child(lambda: kernels.score_codes(query, codes, n_threads=4).tolist(), seconds=30)
            assert found.unwrap() == [float(score) for score in expected]
    finally:
        stop.set()
        busy.join()


def test_beside_torch_and_faiss(work) -> None:
    import faiss
    import torch

    query, codes = work
    expected = kernels.score_codes(query, codes)
    rows = np.random.default_rng(6).standard_normal((4000, 64), np.float32)
    index = faiss.IndexFlatIP(64)
    index.add(rows)
    right = index.search(rows[:50], 3)[1]

    def call(n: int) -> bool:
        if n % 3 == 0:
            return bool(torch.isfinite(torch.from_numpy(rows) @ torch.from_numpy(rows).T).all())
        if n % 3 == 1:
            return np.array_equal(index.search(rows[:50], 3)[1], right)
        return np.array_equal(kernels.score_codes(query, codes, n_threads=2), expected)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(call, range(30)))
