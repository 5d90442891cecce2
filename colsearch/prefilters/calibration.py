"""From a recall that was asked for to the number of standard deviations at which a walk may stop."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import colsearch_kernels as kernels
from colsearch.codecs import RotatedCodec
from colsearch.prefilters.learned import LearnedPrefilter
from colsearch.types import F32, U8

# Numbers of hits for which it is measured; others use the nearest above, or the last.
DEPTHS = (10, 100)
# Of the misses that a recall allows, the share that may show on the queries of the calibration, which are
# made of documents and are easier than real ones (recall .982 where .995 was measured, at the worst).
_SAFETY = 0.5
_N_CANDIDATES = 8192
_AT_ONCE = 16
_NONE = np.empty(0, np.float32)
_GRID = np.arange(-1.0, 8.25, 0.25, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Attributes:
    recall: (len(DEPTHS), n_steps) float32, for each step of z the recall measured on queries that
        the prefilter was not fitted on, less one standard error.
    """

    recall: F32

    def to_json(self) -> list[list[float]]:
        return [[round(float(value), 5) for value in row] for row in self.recall]

    @classmethod
    def from_json(cls, rows: object) -> "Calibration":
        """Raises: ValueError: if it is not what `to_json` gave."""
        recall = np.asarray(rows, np.float32)
        if recall.shape != (len(DEPTHS), len(_GRID)) or not np.isfinite(recall).all():
            raise ValueError(f"a calibration of shape {recall.shape}")
        return cls(recall)

    def z(self, recall: float, k: int) -> float | None:
        """The smallest z that kept the recall; None if none did, and every document must be scored."""
        needed = 1 - _SAFETY * (1 - recall)
        row = min(int(np.searchsorted(DEPTHS, k)), len(DEPTHS) - 1)
        kept = np.flatnonzero(self.recall[row] >= needed)
        return float(_GRID[kept[0]]) if len(kept) else None


class Rehearsal:
    """Collects, segment by segment, what a calibration replays: estimates and true scores of some queries."""

    def __init__(
        self, prefilter: LearnedPrefilter, codec: RotatedCodec, queries: Sequence[F32], n_threads: int
    ) -> None:
        self._prefilter = prefilter
        self._queries = [codec.prepare_query(query) for query in queries]
        self._vectors = [prefilter.embed_query(query) for query in self._queries]
        self._n_threads = n_threads
        self._candidates: list[tuple[F32, F32]] = [(_NONE, _NONE)] * len(queries)
        self._bests: list[F32] = [_NONE] * len(queries)

    def add(self, document_codes: U8, codes: kernels.Codes, among: NDArray[np.bool_]) -> None:
        """Score all queries against a segment, of which `among` says the documents that count."""
        index = self._prefilter.index([document_codes])
        for first in range(0, len(self._queries), _AT_ONCE):
            rows = kernels.score_codes_batch(
                self._queries[first : first + _AT_ONCE], codes, n_threads=self._n_threads
            )
            for i, scores in enumerate(rows, first):
                vector, baseline = self._vectors[i]
                found, products = index.search(vector, _N_CANDIDATES, among)
                estimates = np.concatenate([self._candidates[i][0], products + np.float32(baseline)])
                true = np.concatenate([self._candidates[i][1], scores[found]])
                order = np.argsort(-estimates, kind="stable")[:_N_CANDIDATES]
                self._candidates[i] = estimates[order], true[order]
                best = np.concatenate([self._bests[i], scores[among]])
                self._bests[i] = -np.sort(-best)[: max(DEPTHS)]

    def calibration(self, first: int = 0) -> Calibration:
        """Of all that was added, for the queries from number `first` on."""
        rows = []
        for k in DEPTHS:
            found = self._recall(k)[first:]
            rows.append(found.mean(axis=0) - found.std(axis=0) / np.sqrt(len(found)))
        return Calibration(np.stack(rows))

    def kept(self, z: float, k: int, n: int) -> float:
        """Mean recall@k of the first n queries when walks stop at z, one of a calibration's."""
        return float(self._recall(k)[:n, np.searchsorted(_GRID, z)].mean())

    def _recall(self, k: int) -> F32:
        """(n_queries, n_steps)."""
        return np.stack([_replay(*pair, best, k) for pair, best in zip(self._candidates, self._bests)])


def _replay(estimates: F32, scores: F32, best: F32, k: int) -> F32:
    """For each z, the share of the k best that is met on the way; a tie with the k-th best is one of them."""
    depth = min(k, len(best))
    met = np.minimum(np.cumsum(scores >= best[depth - 1]), depth)
    reached = np.maximum.accumulate(kernels.margins(scores, estimates, k))
    # The first candidate that is out of reach by more than z is the one that is not scored any more.
    stops = np.searchsorted(reached, _GRID, side="right")
    recall: F32 = (met[np.maximum(stops, 1) - 1] / depth).astype(np.float32)
    return recall
