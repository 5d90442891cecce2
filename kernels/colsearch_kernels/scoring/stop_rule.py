"""When to stop following candidates: once the next one is out of reach of the k best.

A candidate is out of reach if its estimate, plus the mean error of the estimates so far, plus z standard deviations of
that error, stays below the k-th best score. The kernels check this for every `CHECK_EVERY`-th candidate.
"""

from typing import TYPE_CHECKING

import numpy as np

from colsearch_kernels.arguments import F32, StopRule
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.runtime.kernel import kernel

if TYPE_CHECKING:
    from colsearch_kernels.compiled.following import find_margins
else:
    find_margins = kernel("following.find_margins", globals())

# Candidates that are scored before the rule is checked for the first time, unless the caller says otherwise.
FIRST_CHECK = 48


def start_rule(
    k: int, *, deviations: float, competing_scores: F32 | None = None, first_check: int = FIRST_CHECK
) -> StopRule:
    """The rule before any candidate is scored.

    Args:
        k: hits wanted.
        deviations: standard deviations of the errors by which a candidate must be out of reach.
        competing_scores: (n,) float32 scores of documents that are no candidates, but compete for the k places.
        first_check: candidates that are scored in any case.
    Raises: KernelInputError: if k is not positive.
    """
    if k < 1:
        raise KernelInputError(f"k must be at least 1, not {k}")
    # Ascending, which is a heap whose root is the k-th best.
    best = np.full(k, -np.inf, np.float32)
    if competing_scores is not None and len(competing_scores):
        largest = np.sort(competing_scores)[-k:]
        best[k - len(largest) :] = largest
    return StopRule(best, k, np.zeros(3), first_check, deviations)


def margins(scores: F32, estimates: F32, k: int) -> F32:
    """(n,) float32, by how many deviations each candidate was out of reach when it came next.

    It is -inf where the rule is not checked, and +inf for a candidate out of reach of estimates without any error.

    Args:
        scores, estimates: (n,) float32 of candidates in the order in which they are followed.
        k: hits wanted.
    """
    found = np.full(len(scores), -np.inf, np.float32)
    rule = start_rule(k, deviations=np.inf)
    find_margins(np.ascontiguousarray(scores), np.ascontiguousarray(estimates), len(scores), found, rule)
    return found
