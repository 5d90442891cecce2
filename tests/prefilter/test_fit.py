"""The choice of probes: the tokens on which a fit measures every document."""

import numpy as np
import pytest

from colsearch.prefilter import fit


def test_probes_are_taken_from_as_many_landmarks_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    nearest = [0, 0, 0, 1, 2, 2]
    assert fit._spread(np.eye(3, dtype=np.float32)[nearest], 4).tolist() == [0, 3, 4, 1]
