"""Candidates followed until the next is out of reach, against the same rule in NumPy."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import colsearch_kernels as kernels
from colsearch_kernels.arguments import CHECK_EVERY
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.scoring import scattered
from colsearch_kernels.scoring.stop_rule import FIRST_CHECK
from tests.support.codes import draw_codes, draw_query


@pytest.fixture(scope="module", autouse=True)
def soon() -> Iterator[None]:
    """Other threads join candidate lists that cost microseconds, piece by little piece."""
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


def checked(n: int, first_check: int = FIRST_CHECK) -> range:
    """Candidates before which the rule is checked."""
    return range(first_check, n, CHECK_EVERY)


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
    for i in checked(n):
        expected[i] = margin(scores[:i], estimates[: i + 1], k, nobody)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    n_docs=st.integers(1, 1500),
    k=st.integers(1, 12),
    z=st.sampled_from([-1.0, 0.5, 2.0, 5.0, 50.0]),
    first_check=st.sampled_from([4, FIRST_CHECK]),
    n_others=st.integers(0, 15),
    n_threads=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_following_scores_up_to_the_first_candidate_out_of_reach(
    n_docs: int, k: int, z: float, first_check: int, n_others: int, n_threads: int, seed: int
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
    out = [i for i in checked(n_docs, first_check) if margin(true[:i], estimates[: i + 1], k, others) > z]
    verified = np.zeros(n_docs, np.uint8)
    following = scorer.start_following(
        numbers, estimates, k=k, stop_deviations=z, competing_scores=others, verified=verified,
        first_check=first_check, n_threads=n_threads,
    )  # fmt: skip
    while (unverified := following.advance()) is not None:
        # Nothing is asked for twice.
        assert len(unverified) and not verified[unverified].any()
        verified[unverified] = 1
    followed = following.result
    assert followed.complete == bool(out)
    n_scored = out[0] if out else n_docs
    np.testing.assert_array_equal(followed.scores, true[:n_scored])
    assert verified[numbers[:n_scored]].all()
    # No more than one portion is verified in vain.
    ahead = max(64, scattered._AHEAD * n_threads * scorer.n_docs_worth(scattered._PIECE_NS))
    assert not verified[numbers[n_scored + ahead :]].any()
    again = scorer.follow(
        numbers, estimates, k=k, stop_deviations=z, competing_scores=others, first_check=first_check,
        n_threads=n_threads,
    )  # fmt: skip
    assert again.complete == followed.complete
    np.testing.assert_array_equal(again.scores, followed.scores)


def candidates_of(seed: int) -> tuple[kernels.ScatteredScorer, np.ndarray, np.ndarray]:
    """A query, all of 400 documents in some order, and their scores in this order."""
    rng = np.random.default_rng(seed)
    codes = draw_codes(rng, 64, (4, 4), rng.integers(1, 5, 400).tolist())
    query = draw_query(rng, 5, 64)
    numbers = rng.permutation(400)
    scorer = kernels.ScatteredScorer(query, kernels.Scattered([codes]))
    return scorer, numbers, kernels.score_codes(query, codes)[numbers]


@contextmanager
def stuck_helpers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[int], list[int]]]:
    """Helpers get stuck in their first piece; an event that one did, its piece, and the caller's pieces."""
    caller, go_on, stuck = threading.get_ident(), threading.Event(), threading.Event()
    stuck_at: list[int] = []
    taken: list[int] = []
    run = scattered.score_scattered

    def score(table: Any, rows: np.ndarray, first: int, last: int, *rest: Any) -> None:
        if threading.get_ident() != caller:
            stuck_at.append(first)
            stuck.set()
            go_on.wait(30)
        else:
            assert stuck.wait(30)
            taken.append(first)
        run(table, rows, first, last, *rest)

    monkeypatch.setattr(scattered, "score_scattered", score)
    try:
        yield stuck, stuck_at, taken
        assert stuck.is_set() and not go_on.is_set()
    finally:
        go_on.set()


def test_a_helper_that_gets_stuck_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, numbers, true = candidates_of(2)
    with stuck_helpers(monkeypatch):
        followed = scorer.follow(numbers, np.zeros(400, np.float32), k=10, stop_deviations=50.0, n_threads=2)
    np.testing.assert_array_equal(followed.scores, true)


def test_nobody_runs_far_ahead_of_a_helper_that_gets_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, numbers, true = candidates_of(5)
    with stuck_helpers(monkeypatch) as (_, stuck_at, taken):
        followed = scorer.follow(numbers, np.zeros(400, np.float32), k=10, stop_deviations=50.0, n_threads=2)
    np.testing.assert_array_equal(followed.scores, true)
    # The piece that is stuck is scored again once so many pieces a thread lie ahead of it, and no later.
    ahead = max(taken[: taken.index(stuck_at[0])]) - stuck_at[0]
    assert 0 < ahead < scattered._AHEAD * 2 * scorer.n_docs_worth(scattered._PIECE_NS) < 100


@pytest.mark.parametrize("n_threads", [1, 3])
def test_no_document_is_read_before_it_is_verified(n_threads: int) -> None:
    rng = np.random.default_rng(3)
    codes = draw_codes(rng, 64, (4, 4), rng.integers(1, 5, 400).tolist())
    query, numbers = draw_query(rng, 5, 64), rng.permutation(400)
    true = kernels.score_codes(query, codes)[numbers]
    # Documents whose bytes are wrong until they are verified.
    plane = codes.planes[0].copy()
    codes.planes[0][...] = 0
    scorer = kernels.ScatteredScorer(query, kernels.Scattered([codes]))
    verified = np.zeros(400, np.uint8)
    following = scorer.start_following(
        numbers, np.zeros(400, np.float32), k=10, stop_deviations=50.0, verified=verified, n_threads=n_threads
    )
    while (unverified := following.advance()) is not None:
        for row in unverified:
            tokens = slice(codes.offsets[row], codes.offsets[row + 1])
            codes.planes[0][tokens] = plane[tokens]
        verified[unverified] = 1
    np.testing.assert_array_equal(following.result.scores, true)


def test_a_document_without_tokens_is_scored_and_says_nothing() -> None:
    rng = np.random.default_rng(0)
    codes = draw_codes(rng, 64, (4,), [3] * 40 + [0] * 40 + [3] * 40)
    query = draw_query(rng, 5, 64)
    scorer = kernels.ScatteredScorer(query, kernels.Scattered([codes]))
    true = kernels.score_codes(query, codes)
    followed = scorer.follow(np.arange(120), np.zeros(120, np.float32), k=10, stop_deviations=50.0)
    assert not followed.complete
    np.testing.assert_array_equal(followed.scores, true)


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(1)
    codes = draw_codes(rng, 64, (4,), [3] * 5)
    scorer = kernels.ScatteredScorer(draw_query(rng, 5, 64), kernels.Scattered([codes]))
    numbers, estimates = np.arange(5), np.zeros(5, np.float32)
    with pytest.raises(KernelInputError, match="k must be at least 1"):
        scorer.follow(numbers, estimates, k=0, stop_deviations=1.0)
    with pytest.raises(KernelInputError, match=r"estimates must be float32 \(5,\)"):
        scorer.follow(numbers, estimates.astype(np.float64), k=1, stop_deviations=1.0)
    with pytest.raises(KernelInputError, match=r"documents 0\.\.4"):
        scorer.follow(numbers + 1, estimates, k=1, stop_deviations=1.0)
    verified = np.ones(4, np.uint8)
    with pytest.raises(KernelInputError, match=r"verified must be uint8 \(5,\)"):
        scorer.start_following(numbers, estimates, k=1, stop_deviations=1.0, verified=verified)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_row_that_the_caller_does_not_mark_is_refused(n_threads: int) -> None:
    scorer, numbers, _ = candidates_of(4)
    verified = np.ones(400, np.uint8)
    verified[numbers[300]] = 0
    following = scorer.start_following(
        numbers, np.zeros(400, np.float32), k=1, stop_deviations=50.0, verified=verified, n_threads=n_threads
    )
    assert following.advance() == [numbers[300]]
    with pytest.raises(KernelInputError, match=f"document {numbers[300]} was to be verified"):
        following.advance()


def test_threads_that_share_a_scorer_get_the_scores_of_their_own_candidates() -> None:
    scorer, numbers, true = candidates_of(6)

    def follow(order: np.ndarray) -> bool:
        for _ in range(200):
            scores = scorer.follow(
                numbers[order], np.zeros(400, np.float32), k=10, stop_deviations=50.0
            ).scores
            if not (scores == true[order]).all():
                return False
        return True

    orders = [np.arange(400), np.arange(400)[::-1].copy()]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(follow, orders)) == [True, True]
