"""How anything is timed here: interleaved, checked first, CPU and wall time, ratios of pairs.

A shared machine drifts by more than the differences that matter, so contestants take turns query by
query in random order, and are compared by the median of the ratios of neighbouring measurements.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Timed(Generic[Answer]):
    """One call: what it answered, and what it cost in milliseconds."""

    answer: Answer
    wall_ms: float
    cpu_ms: float


class ContestantFailedError(RuntimeError):
    """A contestant cannot go on; the others can, and its words are reported."""


@dataclass(frozen=True, slots=True)
class Times:
    """All calls of one contestant, in the order of the queries; (n_calls,) milliseconds."""

    wall_ms: NDArray[np.float64]
    cpu_ms: NDArray[np.float64]

    def summary(self) -> dict[str, float]:
        return {
            "wall_median_ms": _rounded(np.median(self.wall_ms)),
            "wall_p95_ms": _rounded(np.percentile(self.wall_ms, 95)),
            "cpu_median_ms": _rounded(np.median(self.cpu_ms)),
            "cpu_p95_ms": _rounded(np.percentile(self.cpu_ms, 95)),
        }


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % bootstrap confidence interval."""

    estimate: float
    low: float
    high: float

    def rounded(self) -> list[float]:
        return [round(self.estimate, 4), round(self.low, 4), round(self.high, 4)]


def timed(call: Callable[[], Answer]) -> Timed[Answer]:
    """CPU time is the whole process's, so work handed to other threads counts."""
    cpu, wall = time.process_time(), time.perf_counter()
    answer = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Timed(answer, wall * 1e3, cpu * 1e3)


def interleave(
    contestants: Mapping[str, Callable[[int], Timed[Answer]]],
    n_calls: int,
    *,
    seed: int,
    check: Callable[[str, int, Answer], None],
    n_warmups: int = 2,
    failures: dict[str, str] | None = None,
    limits: Mapping[str, int] | None = None,
) -> dict[str, Times]:
    """Call number i of every contestant, in random order, then number i + 1; each answer is checked.

    Args:
        check: raises when contestant's answer to call i is wrong; it runs outside the clock, for the
            warm-up calls too, so that nothing is timed before it has been right. A ContestantFailedError
            puts out that contestant, anything else ends the contest.
        failures: filled with what contestants that failed said; without it a failure ends the contest.
        limits: fewer calls for contestants too slow to make all of them; they make the first ones.
    Returns: the times of each contestant that lasted.
    """
    most = limits or {}
    shuffled = random.Random(seed)
    times: dict[str, list[Timed[Answer]]] = {name: [] for name in contestants}
    for i in [*range(min(n_warmups, n_calls)), *range(n_calls)]:
        turn = sorted(name for name in times if i < most.get(name, n_calls))
        for name in shuffled.sample(turn, len(turn)):
            try:
                done = contestants[name](i)
                check(name, i, done.answer)
            except ContestantFailedError as error:
                if failures is None:
                    raise
                failures[name] = str(error)
                del times[name]
                continue
            times[name].append(done)
    measured = {name: calls[min(n_warmups, n_calls) :] for name, calls in times.items()}
    return {
        name: Times(np.array([done.wall_ms for done in calls]), np.array([done.cpu_ms for done in calls]))
        for name, calls in measured.items()
    }


def ratio_of_pairs(numerator: ArrayLike, denominator: ArrayLike, *, seed: int = 0) -> Interval:
    """Median of the ratios of paired measurements, with its bootstrap interval.

    Args:
        numerator, denominator: (n,) times of two contestants on the same n calls, interleaved.
    """
    ratios = np.asarray(numerator, np.float64) / np.asarray(denominator, np.float64)
    return _bootstrap(ratios, np.median, seed=seed)


def mean_interval(values: ArrayLike, *, seed: int = 0) -> Interval:
    """Mean of per-query figures, with its bootstrap interval over queries."""
    return _bootstrap(np.asarray(values, np.float64), np.mean, seed=seed)


def _bootstrap(
    values: NDArray[np.float64],
    statistic: Callable[..., NDArray[np.float64]],
    *,
    seed: int,
    n_draws: int = 1000,
) -> Interval:
    generator = np.random.default_rng(seed)
    draws = np.array(
        [statistic(values[generator.integers(0, len(values), len(values))]) for _ in range(n_draws)]
    )
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(statistic(values)), float(low), float(high))


def recall_with_ties(found: Sequence[float], exact: Sequence[float], *, tolerance: float = 0.0) -> float:
    """Share of the exact top k that was found, equal scores counted as equal.

    A document tied with the k-th is as right as the k-th itself, so what counts is how many of the
    found documents have an exact score of at least the k-th best.

    Args:
        found: exact scores of the documents that were found, at most k of them count.
        exact: exact scores of the true top k, best first.
    """
    if not len(exact):
        return 1.0
    k = len(exact)
    border = exact[-1] - tolerance
    return sum(score >= border for score in found[:k]) / k


def _rounded(value: np.floating | float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{float(value):.4g}")
