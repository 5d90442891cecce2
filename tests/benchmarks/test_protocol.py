"""The arithmetic behind every comparison, checked by hand."""

import numpy as np
import pytest

from benchmarks.protocol import (
    ContestantFailedError,
    Timed,
    interleave,
    mean_interval,
    ratio_of_pairs,
    recall_with_ties,
    timed,
)


def test_a_tie_with_the_kth_document_counts_as_found() -> None:
    exact = [9.0, 8.0, 7.0]
    assert (
        recall_with_ties([9.0, 7.0, 7.0], exact) == 1.0
    )  # 8.0 is missed; another document of score 7.0 counts as much as the third one does
    assert recall_with_ties([9.0, 6.9, 7.0], exact) == pytest.approx(2 / 3)


def test_only_the_first_k_found_documents_count() -> None:
    assert recall_with_ties([1.0, 9.0], [9.0]) == 0.0


def test_the_ratio_is_the_median_over_pairs_not_of_medians() -> None:
    slow, fast = [2.0, 40.0, 6.0], [1.0, 10.0, 6.0]
    interval = ratio_of_pairs(slow, fast)
    assert interval.estimate == 2.0
    assert 1.0 <= interval.low <= 2.0 <= interval.high <= 4.0


def test_the_interval_covers_the_mean_it_was_drawn_around() -> None:
    values = np.random.default_rng(3).normal(0.5, 0.1, 400)
    interval = mean_interval(values)
    assert interval.low < interval.estimate < interval.high
    assert interval.high - interval.low == pytest.approx(4 * 0.1 / 20, rel=0.2)  # 2 * 1.96 standard errors


def test_contestants_take_turns_on_the_same_call_and_the_order_varies() -> None:
    calls: list[tuple[str, int]] = []

    def contestant(name: str):
        def call(i: int) -> Timed[int]:
            calls.append((name, i))
            return Timed(i, wall_ms=i + 1.0, cpu_ms=i + 2.0)

        return call

    times = interleave({"a": contestant("a"), "b": contestant("b")}, 20, seed=1, check=_right, n_warmups=0)
    rounds = [calls[i : i + 2] for i in range(0, 40, 2)]
    assert all({name for name, _ in pair} == {"a", "b"} and len({i for _, i in pair}) == 1 for pair in rounds)
    assert len({pair[0][0] for pair in rounds}) == 2
    assert times["a"].wall_ms.tolist() == [i + 1.0 for i in range(20)]


def test_a_slow_contestant_makes_the_first_calls_only_and_one_that_fails_is_reported() -> None:
    def failing(i: int) -> Timed[int]:
        if i == 3:
            raise ContestantFailedError("out of memory")
        return Timed(i, 1.0, 1.0)

    failures: dict[str, str] = {}
    contestants = {
        "slow": lambda i: Timed(i, 1.0, 1.0),
        "failing": failing,
        "fast": lambda i: Timed(i, 1.0, 1.0),
    }
    times = interleave(contestants, 6, seed=0, check=_right, failures=failures, limits={"slow": 2})
    assert {name: len(spent.wall_ms) for name, spent in times.items()} == {"slow": 2, "fast": 6}
    assert failures == {"failing": "out of memory"}


def test_a_wrong_answer_stops_the_measurement_before_anything_is_timed() -> None:
    with pytest.raises(AssertionError, match="wrong answer"):
        interleave({"liar": lambda i: timed(lambda: i + 1)}, 3, seed=0, check=_right)


def _right(name: str, i: int, answer: int) -> None:
    assert answer == i, f"wrong answer from {name}"
