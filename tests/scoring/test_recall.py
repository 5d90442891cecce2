"""Recall compares scores, so that documents of equal score are as good as each other."""

import numpy as np
import pytest

from colsearch.scoring.recall import recall_of_scores

ONE_BIT_BELOW_3 = np.nextafter(np.float32(3), np.float32(0))


@pytest.mark.parametrize(
    ("found", "exact", "recall"),
    [
        ([5, 4, 3], [5, 4, 3], 1.0),
        ([5, 3], [5, 4, 3], 2 / 3),
        ([4, 2, 1], [5, 4, 3], 1 / 3),
        ([5, 4, ONE_BIT_BELOW_3], [5, 4, 3], 2 / 3),
        # The exact ranking cut a group of four equal documents: any three of the four are as good.
        ([3, 3, 3], [3, 3, 3], 1.0),
        ([5, 3, 3, 3], [5, 3, 3], 1.0),
        ([-1, -2, -3], [-1, -2], 1.0),
        ([-3], [-1, -2], 0.0),
        ([], [5], 0.0),
        ([], [], 1.0),
        ([5], [], 1.0),
    ],
)
def test_recall_counts_the_documents_that_are_as_good(found, exact, recall):
    assert recall_of_scores(np.array(found, np.float32), np.array(exact, np.float32)) == recall
