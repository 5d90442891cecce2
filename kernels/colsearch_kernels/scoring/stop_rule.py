"""When to stop following candidates: once the next one is out of reach of the k best.

Out of reach: its estimate, plus the mean error of the estimates seen so far, plus z standard deviations of that
error, stays below the k-th best score. The kernels look every few candidates, since to look costs next to nothing.
"""

import numpy as np

from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import F32, address
from colsearch_kernels.runtime.native import Kernel

# Candidates before the first look, unless the caller says otherwise, and from one look to the next.
FIRST_LOOK, LOOK_EVERY = 48, 8
_margins = Kernel("following.margins")


class Seen:
    """Of one query: its k best scores so far, and how far estimates are off.

    Args:
        k: hits wanted.
        others: (n,) float32 scores of documents that are no candidates, but compete for the k places.
        first_look: candidates that are scored in any case.
    """

    def __init__(self, k: int, others: F32 | None = None, first_look: int = FIRST_LOOK) -> None:
        if k < 1:
            raise KernelInputError(f"k must be at least 1, not {k}")
        # Ascending, which is a heap whose root is the k-th best.
        self._best = np.full(k, -np.inf, np.float32)
        if others is not None and len(others):
            largest = np.sort(others)[-k:]
            self._best[k - len(largest) :] = largest
        self._sums = np.zeros(3)
        self._first_look = first_look

    @property
    def arguments(self) -> tuple[int, int, int, int]:
        """As the kernels take them: addresses of the best and of the sums, with their numbers between."""
        return address(self._best), len(self._best), address(self._sums), self._first_look


def margins(scores: F32, estimates: F32, k: int) -> F32:
    """(n,) float32, for each candidate by how many deviations it was out of reach when it came next.

    -inf where it was not looked at; +inf for one out of reach where estimates were never off.

    Args:
        scores, estimates: (n,) float32 of candidates in the order in which they are followed.
        k: hits wanted.
    """
    found = np.full(len(scores), -np.inf, np.float32)
    seen = Seen(k)
    _margins(address(scores), address(estimates), len(scores), address(found), *seen.arguments)
    return found
