"""The timing protocol: interleaved calls, checked answers, CPU and wall time, ratios of pairs.

The speed of a shared machine drifts by more than the differences that matter. So contestants take turns
query by query in random order, and are compared by the median of the ratios of neighbouring measurements.
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
    """One call: its answer and its cost in milliseconds."""

    answer: Answer
    wall_ms: float
    cpu_ms: float


class ContestantFailedError(RuntimeError):
    """A contestant cannot continue. The others can; the message is reported."""


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
    """Time one call. CPU time is that of the whole process, so the work of other threads counts."""
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
    """Make call i of every contestant, in random order, then call i + 1; check each answer.

    Args:
        check: raises if a contestant's answer to call i is wrong. It runs outside the timing, and for the
            warm-up calls too, so every contestant has been right before it is timed. A ContestantFailedError
            removes that contestant; any other error ends the contest.
        failures: receives the messages of contestants that failed; without it a failure ends the contest.
        limits: number of calls of contestants that are too slow for all calls; they make the first ones.
    Returns: the times of each contestant that did not fail.
    """
    n_calls_of = limits or {}
    shuffled = random.Random(seed)
    times: dict[str, list[Timed[Answer]]] = {name: [] for name in contestants}
    for i in [*range(min(n_warmups, n_calls)), *range(n_calls)]:
        turn = sorted(name for name in times if i < n_calls_of.get(name, n_calls))
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
    """Mean of per-query values, with its bootstrap interval over queries."""
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
    """Share of the exact top k that was found; a document tied with the k-th counts as found.

    The number found is the number of documents whose exact score is at least the k-th best.

    Args:
        found: exact scores of the documents that were found; the first k count.
        exact: exact scores of the true top k, best first.
    """
    if not len(exact):
        return 1.0
    k = len(exact)
    border = exact[-1] - tolerance
    return sum(score >= border for score in found[:k]) / k


def _rounded(value: np.floating | float) -> float:
    """Round to four significant digits; further digits would be noise."""
    return float(f"{float(value):.4g}")
