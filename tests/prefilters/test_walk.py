"""The walk over candidates, and the calibration that tells it when to stop."""

import numpy as np
import pytest

from colsearch.prefilters.calibration import Calibration
from colsearch.prefilters.walk import blocks, margin, walk


def test_blocks_tile_the_candidates() -> None:
    for n in (0, 1, 63, 64, 65, 5000):
        parts = list(blocks(n, 10))
        assert [row for first, last in parts for row in range(first, last)] == list(range(n))


def test_margin_is_the_distance_in_standard_deviations() -> None:
    scores = np.array([10, 9, 7, 8], np.float32)
    estimates = np.array([9, 9, 6, 6, 2], np.float32)
    errors = np.array([1, 0, 1, 2])
    expected = (9 - 2 - errors.mean()) / errors.std()
    assert margin(scores, estimates, 2) == pytest.approx(expected)
    # Documents from elsewhere raise the k-th best.
    assert margin(scores, estimates, 2, np.array([9.5], np.float32)) == pytest.approx(
        (9.5 - 2 - errors.mean()) / errors.std()
    )
    assert margin(scores, estimates, 5) == -np.inf


def test_a_walk_stops_when_the_next_cannot_matter_and_not_before() -> None:
    rng = np.random.default_rng(0)
    true = np.sort(rng.normal(0, 1, 4000).astype(np.float32))[::-1]
    estimates = np.sort(true + rng.normal(0, 0.01, 4000).astype(np.float32))[::-1]
    rows = np.arange(4000)
    seen: list[int] = []

    def score(some: np.ndarray) -> np.ndarray:
        seen.extend(some)
        return true[some]

    walked = walk(rows, estimates, score, 10, 4.0)
    assert walked.complete and len(walked.scores) < 200
    assert seen == list(range(len(walked.scores)))
    # With estimates that say nothing it goes to the end, and says so.
    walked = walk(rows, np.zeros(4000, np.float32), score, 10, 4.0)
    assert not walked.complete and len(walked.scores) == 4000


def test_calibration_picks_the_smallest_step_that_keeps_the_promise() -> None:
    grid = 37
    recall = np.stack([np.linspace(0.9, 1.0, grid), np.linspace(0.5, 0.9, grid)]).astype(np.float32)
    calibration = Calibration.from_json(Calibration(recall).to_json())
    loose, tight = calibration.z(0.9, 10), calibration.z(0.99, 10)
    assert loose is not None and tight is not None and loose < tight
    # Half of the misses that .9 allows: the first step with at least .95.
    assert loose == pytest.approx(-1 + 0.25 * int(np.argmax(recall[0] >= 0.95)))
    assert calibration.z(0.99, 50) is None
    for bad in (None, [[1.0]], [[float("nan")] * grid] * 2):
        with pytest.raises((ValueError, TypeError)):
            Calibration.from_json(bad)
