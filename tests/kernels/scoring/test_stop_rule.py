"""Candidates followed until the next is out of reach, against the same rule in NumPy."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import colsearch_kernels as kernels
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.scoring import scattered
from colsearch_kernels.scoring.stop_rule import FIRST_LOOK, LOOK_EVERY
from tests.kernels.scoring.test_codes import draw_codes, draw_query


@pytest.fixture(scope="module", autouse=True)
def soon() -> Iterator[None]:
    """Other threads join walks that cost microseconds, piece by little piece."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scattered, "_ALONE_NS", 300.0)
        patch.setattr(scattered, "_PIECE_NS", 150.0)
        yield


def margin(scores: np.ndarray, estimates: np.ndarray, k: int, others: np.ndarray) -> float:
    """How many deviations the last of the estimates is out of reach, from the scores of all before it."""
    known = np.sort(np.concatenate([scores, others]))
    if len(known) < k:
        return -np.inf
    errors = scores.astype(np.float64) - estimates[:-1]
    distance = float(known[-k]) - float(estimates[-1]) - errors.mean()
    deviation = errors.std()
    if deviation > 1e-6 * np.sqrt(np.square(errors).mean()):
        return distance / deviation
    return np.inf if distance > 0 else -np.inf


def looks(n: int, first_look: int = FIRST_LOOK) -> range:
    return range(first_look, n, LOOK_EVERY)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 300),
    k=st.integers(1, 40),
    error=st.sampled_from([0.0, 0.01, 0.3, 3.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_margins_are_distances_in_deviations(n: int, k: int, error: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(10, 1, n).astype(np.float32)
    estimates = (scores + error * rng.standard_normal(n)).astype(np.float32)
    order = np.argsort(-estimates, kind="stable")
    scores, estimates = scores[order], estimates[order]
    found = kernels.margins(scores, estimates, k)
    nobody = np.empty(0, np.float32)
    expected = np.full(n, -np.inf)
    for i in looks(n):
        expected[i] = margin(scores[:i], estimates[: i + 1], k, nobody)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    n_docs=st.integers(1, 1500),
    k=st.integers(1, 12),
    z=st.sampled_from([-1.0, 0.5, 2.0, 5.0, 50.0]),
    first_look=st.sampled_from([4, FIRST_LOOK]),
    n_others=st.integers(0, 15),
    n_threads=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_following_scores_up_to_the_first_candidate_out_of_reach(
    n_docs: int, k: int, z: float, first_look: int, n_others: int, n_threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = draw_codes(rng, 64, (4, 4), rng.integers(1, 5, n_docs).tolist())
    query = draw_query(rng, 5, 64)
    scorer = kernels.ScatteredScorer(query, kernels.Scattered([codes]), n_planes=1)
    true = kernels.score_codes(query, codes, n_planes=1)
    estimates = (true + true.std() * 0.3 * rng.standard_normal(n_docs)).astype(np.float32)
    numbers = np.argsort(-estimates, kind="stable")
    estimates, true = estimates[numbers], true[numbers]
    others = rng.choice(true, n_others).astype(np.float32)
    out = [i for i in looks(n_docs, first_look) if margin(true[:i], estimates[: i + 1], k, others) > z]
    ready = np.zeros(n_docs, np.uint8)
    asked: list[int] = []

    def make_ready(some: np.ndarray) -> None:
        asked.extend(some)
        ready[some] = 1

    followed = scorer.follow(
        numbers, estimates, k=k, z=z, others=others, ready=ready, make_ready=make_ready,
        first_look=first_look, n_threads=n_threads,
    )  # fmt: skip
    assert followed.complete == bool(out)
    np.testing.assert_array_equal(followed.scores, true[: out[0] if out else n_docs])
    # Each document that was read was made ready first; a helper may still be at others.
    assert ready[numbers[: len(followed.scores)]].all()
    made = set(np.flatnonzero(ready))
    assert made <= set(asked)


def walk(seed: int) -> tuple[kernels.ScatteredScorer, np.ndarray, np.ndarray]:
    """A query, all of 400 documents in some order, and their scores in this order."""
    rng = np.random.default_rng(seed)
    codes = draw_codes(rng, 64, (4, 4), rng.integers(1, 5, 400).tolist())
    query = draw_query(rng, 5, 64)
    numbers = rng.permutation(400)
    scorer = kernels.ScatteredScorer(query, kernels.Scattered([codes]))
    return scorer, numbers, kernels.score_codes(query, codes)[numbers]


def test_a_helper_that_gets_stuck_holds_nobody_up() -> None:
    scorer, numbers, true = walk(2)
    ready, caller, go_on = np.zeros(400, np.uint8), threading.get_ident(), threading.Event()
    stuck = threading.Event()

    def make_ready(some: np.ndarray) -> None:
        if threading.get_ident() != caller:
            stuck.set()
            go_on.wait(30)
        elif numbers[200] in some:
            assert stuck.wait(30)
        ready[some] = 1

    try:
        followed = scorer.follow(
            numbers, np.zeros(400, np.float32), k=10, z=50.0, ready=ready, make_ready=make_ready, n_threads=2
        )
        assert stuck.is_set() and not go_on.is_set()
    finally:
        go_on.set()
    np.testing.assert_array_equal(followed.scores, true)


def test_nobody_runs_far_ahead_of_a_helper_that_gets_stuck() -> None:
    scorer, numbers, true = walk(5)
    place, ready, caller = np.argsort(numbers), np.zeros(400, np.uint8), threading.get_ident()
    stuck, go_on = threading.Event(), threading.Event()
    stuck_at, taken = [], []

    def make_ready(some: np.ndarray) -> None:
        first = int(place[some].min())
        if threading.get_ident() != caller:
            stuck_at.append(first)
            stuck.set()
            go_on.wait(30)
        else:
            # Beyond what is scored alone.
            assert first <= FIRST_LOOK or stuck.wait(30)
            taken.append(first)
        ready[some] = 1

    try:
        followed = scorer.follow(
            numbers, np.zeros(400, np.float32), k=10, z=50.0, ready=ready, make_ready=make_ready, n_threads=2
        )
    finally:
        go_on.set()
    np.testing.assert_array_equal(followed.scores, true)
    # The piece that is stuck is scored again once so many pieces a thread lie ahead of it, and no later.
    ahead = max(taken[: taken.index(stuck_at[0])]) - stuck_at[0]
    assert 0 < ahead < scattered._AHEAD * 2 * scorer._worth(scattered._PIECE_NS) < 100


def test_what_any_thread_finds_damaged_is_raised() -> None:
    scorer, numbers, _ = walk(3)
    ready = np.zeros(400, np.uint8)

    def make_ready(some: np.ndarray) -> None:
        if numbers[300] in some:
            raise RuntimeError(f"document {numbers[300]} is damaged")
        ready[some] = 1

    for _ in range(20):
        ready[:] = 0
        with pytest.raises(RuntimeError, match=f"document {numbers[300]} is damaged"):
            scorer.follow(
                numbers, np.zeros(400, np.float32), k=10, z=50.0, ready=ready, make_ready=make_ready, n_threads=3
            )  # fmt: skip


def test_a_document_without_tokens_is_scored_and_says_nothing() -> None:
    rng = np.random.default_rng(0)
    codes = draw_codes(rng, 64, (4,), [3] * 40 + [0] * 40 + [3] * 40)
    query = draw_query(rng, 5, 64)
    scorer = kernels.ScatteredScorer(query, kernels.Scattered([codes]))
    true = kernels.score_codes(query, codes)
    followed = scorer.follow(np.arange(120), np.zeros(120, np.float32), k=10, z=50.0)
    assert not followed.complete
    np.testing.assert_array_equal(followed.scores, true)


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(1)
    codes = draw_codes(rng, 64, (4,), [3] * 5)
    scorer = kernels.ScatteredScorer(draw_query(rng, 5, 64), kernels.Scattered([codes]))
    numbers, estimates = np.arange(5), np.zeros(5, np.float32)
    with pytest.raises(KernelInputError, match="k must be at least 1"):
        scorer.follow(numbers, estimates, k=0, z=1.0)
    with pytest.raises(KernelInputError, match=r"estimates must be float32 \(5,\)"):
        scorer.follow(numbers, estimates.astype(np.float64), k=1, z=1.0)
    with pytest.raises(KernelInputError, match=r"documents 0\.\.4"):
        scorer.follow(numbers + 1, estimates, k=1, z=1.0)
    with pytest.raises(KernelInputError, match=r"ready must be uint8 \(5,\)"):
        scorer.follow(numbers, estimates, k=1, z=1.0, ready=np.ones(4, np.uint8))
    with pytest.raises(KernelInputError, match="document 0 is not ready"):
        scorer.follow(numbers, estimates, k=1, z=1.0, ready=np.zeros(5, np.uint8))
    scorer, numbers, _ = walk(4)
    ready = np.ones(400, np.uint8)
    ready[numbers[300]] = 0
    with pytest.raises(KernelInputError, match=f"document {numbers[300]} is not ready"):
        scorer.follow(numbers, np.zeros(400, np.float32), k=1, z=50.0, ready=ready, n_threads=2)
