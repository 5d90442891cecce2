"""How far to follow the prefilter: score its best, block by block, until the next cannot matter."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from colsearch.types import F32, I64

_FIRST_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Walk:
    """Attributes:
    scores: (n,) float32 MaxSim of the first n candidates.
    complete: False if the candidates came to an end before the walk did.
    """

    scores: F32
    complete: bool


def walk(
    candidates: I64,
    estimates: F32,
    score: Callable[[I64], F32],
    k: int,
    z: float,
    *,
    others: F32 | None = None,
) -> Walk:
    """Score candidates in their order until the k-th best beats what the next one can be expected to reach.

    That is its estimate, plus the mean error of the estimates seen so far, plus z standard deviations.

    Args:
        candidates: (n,) the prefilter's, best first.
        estimates: (n,) of their MaxSim, descending.
        score: from candidates to their MaxSim.
        k: hits wanted.
        z: from a calibration.
        others: scores of documents outside the prefilter, which compete for the k places.
    """
    scores = np.empty(len(estimates), np.float32)
    for first, last in blocks(len(estimates), k):
        scores[first:last] = score(candidates[first:last])
        if last < len(estimates) and margin(scores[:last], estimates[: last + 1], k, others) > z:
            return Walk(scores[:last], True)
    return Walk(scores, False)


def blocks(n: int, k: int) -> Iterator[tuple[int, int]]:
    """Where a walk over n candidates may stop: after each of these, which grow by half."""
    last = 0
    while last < n:
        first, last = last, min(last + max(_FIRST_BLOCK, k, last // 2), n)
        yield first, last


def margin(scores: F32, estimates: F32, k: int, others: F32 | None = None) -> float:
    """How many standard deviations of error the next candidate would need to reach the k-th best.

    Args:
        scores: (n,) MaxSim of the candidates so far.
        estimates: (n + 1,) theirs and the next one's.
    """
    known = scores if others is None else np.concatenate([scores, others])
    if len(known) < k:
        return -np.inf
    kth_best = np.partition(known, len(known) - k)[len(known) - k]
    errors = scores - estimates[:-1]
    distance, deviation = float(kth_best - estimates[-1] - errors.mean()), float(errors.std())
    if deviation:
        return distance / deviation
    return np.inf if distance > 0 else -np.inf
