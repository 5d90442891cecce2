"""How much of an exact ranking another ranking of the same query has found."""

import numpy as np

from colsearch.types import F32


def recall_of_scores(found: F32, exact: F32) -> float:
    """Share of the exact ranking's places that the other ranking fills with documents as good.

    Compared are scores, not ids: a document whose score equals that of the last exact hit is as good as
    that hit. No tolerance is needed, because a query and a document have the same score in every search,
    equal to the bit.

    Args:
        found: (n_found,) scores of the ranking that is judged.
        exact: (n_exact,) scores of the exact ranking, best first.
    Returns: from 0 to 1; 1 if the exact ranking is empty.
    """
    if not len(exact):
        return 1.0
    n_as_good = int(np.count_nonzero(found >= exact[-1]))
    return min(n_as_good, len(exact)) / len(exact)
