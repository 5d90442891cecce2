"""The promise `recall=`: from the recall that is asked for to where the stop rule ends a query.

A query scores its candidates in the order of their estimates. It stops once the next estimate is
`stop_deviations` standard deviations of the estimates' errors below the k-th best score (z in formulas).
A calibration says which recall each z gave on queries that the prefilter was not fitted on;
docs/PREFILTER.md has the measurements behind its constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from colsearch.types import F32

# Numbers of hits for which recall is measured; other numbers use the nearest above, or the last.
DEPTHS = (10, 100)
# Calibration queries are made of documents, which is easier than real ones: they may use up at most this share
# of the misses that a recall allows.
_SAFETY = 0.5
# If even the largest z misses more than that, the smallest z is taken whose misses exceed the largest z's by at
# most this share of the allowed ones.
_NEGLIGIBLE = 0.1
# For each depth, the share of the k best that real queries miss if they stop at z = 0, 1, ..., 8: the largest of
# five collections. Synthetic queries of a small collection are easier than real ones, since each document has few
# that resemble it, and 128 of them say little about what one query in a hundred misses. (A sixth collection,
# measured later, misses more where it is large; its calibrations ask for more by themselves: docs/PREFILTER.md.)
REAL_MISSES = np.array(
    [
        (0.121, 0.117, 0.066, 0.0234, 0.0066, 0.0026, 0.0012, 0.0006, 0.0004),
        (0.256, 0.119, 0.0341, 0.0095, 0.0029, 0.0009, 0.0004, 0.0004, 0.0004),
    ]
)
# The values of z at which a calibration measures.
Z_STEPS = np.arange(-1.0, 8.25, 0.25, dtype=np.float32)
# (n_depths, n_steps) recall of real queries, interpolated between whole z.
_REAL_RECALL = 1 - np.exp(
    np.stack([np.interp(Z_STEPS, np.arange(9), misses) for misses in np.log(REAL_MISSES)])
)
# A query fetches at least this many candidates per hit.
_FIRST_PER_HIT = 20


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Which recall each z gave.

    Attributes:
        recall: (n_depths, n_steps) float32, recall at each depth of `DEPTHS` for each z of `Z_STEPS`, measured on
            queries that the prefilter was not fitted on.
    """

    recall: F32

    def to_json(self) -> list[list[float]]:
        return [[round(float(value), 5) for value in row] for row in self.recall]

    @classmethod
    def from_json(cls, rows: object) -> Calibration:
        """Raises: ValueError: if it is not what `to_json` gave."""
        recall = np.asarray(rows, np.float32)
        if recall.shape != (len(DEPTHS), len(Z_STEPS)) or not np.isfinite(recall).all():
            raise ValueError(f"a calibration of shape {recall.shape}")
        return cls(recall)

    def stop_deviations(self, recall: float, k: int) -> float | None:
        """The smallest z that keeps this recall with safety, here and on the real queries of other collections.

        If no z keeps it with safety, one is taken that keeps hardly less than the largest: no z finds what lies
        beyond all candidates.
        Returns: None if not even the largest z keeps the recall, so that every document must be scored.
        """
        row = _row(k)
        best, allowed = self.recall[row, -1], 1 - recall
        if best < recall:
            return None
        needed = min(1 - _SAFETY * allowed, float(best) - _NEGLIGIBLE * allowed)
        steps = np.flatnonzero((self.recall[row] >= needed) & (_REAL_RECALL[row] >= recall))
        return float(Z_STEPS[steps[0] if len(steps) else -1])

    def measured_deviations(self, recall: float, k: int) -> float | None:
        """The smallest z that kept this recall on the calibration's own queries; None if none did."""
        steps = np.flatnonzero(self.recall[_row(k)] >= recall)
        return float(Z_STEPS[steps[0]]) if len(steps) else None


def first_fetch(n_docs: int, k: int, stop_deviations: float) -> int:
    """How many candidates a query of n_docs documents fetches at first.

    The number that holds a query's k best grows roughly with the root of n_docs, and the number of candidates that
    it scores grows with z.
    """
    return max(int(_per_root(stop_deviations) * n_docs**0.5), _FIRST_PER_HIT * k)


def simulated_depth(n_docs: int) -> int:
    """How many candidates a calibration must replay: a third more than the longest query fetches at first."""
    return int(_per_root(float(Z_STEPS[-1])) / 0.75 * n_docs**0.5)


def _per_root(stop_deviations: float) -> float:
    return 1.5 + 1.5 * stop_deviations


def _row(k: int) -> int:
    return min(int(np.searchsorted(DEPTHS, k)), len(DEPTHS) - 1)
