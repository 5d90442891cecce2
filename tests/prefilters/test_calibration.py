"""The calibration that tells how far to follow candidates."""

import numpy as np
import pytest

from colsearch.prefilters.calibration import Calibration


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
