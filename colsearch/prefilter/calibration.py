"""From a recall that was asked for to the number of standard deviations at which a walk may stop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import colsearch_kernels as kernels
from colsearch.codec.rotated import RotatedCodec
from colsearch.prefilter.model import LearnedPrefilter
from colsearch.prefilter.quantizer import DocumentCodes
from colsearch.types import F32, I64
from colsearch_kernels.runtime.lazy import lazy

# Numbers of hits for which it is measured; others use the nearest above, or the last.
DEPTHS = (10, 100)
# Of the misses that a recall allows, the share that may show on the queries of the calibration, which are
# made of documents.
_SAFETY = 0.5
# And the share of them that may be missed for the sake of a shorter walk where that much is out of reach.
_HARDLY_LESS = 0.1
# For each depth, the share of the k best that real queries miss whose walks stop at z = 0, 1, ..., 8: the largest of
# five collections. Queries made of documents are easier than real ones of a small collection, where each document
# has few that are like it, and 128 of them say little about what one in a hundred misses. (A sixth collection, looked
# at later, misses more where it is large, and its calibrations ask for more: docs/PREFILTER.md.)
REAL_MISSES = np.array(
    [
        (0.121, 0.117, 0.066, 0.0234, 0.0066, 0.0026, 0.0012, 0.0006, 0.0004),
        (0.256, 0.119, 0.0341, 0.0095, 0.0029, 0.0009, 0.0004, 0.0004, 0.0004),
    ]
)
# Candidates that are replayed, of every query and of every other one; only these are asked for 100 hits, since
# .995 of them take more than 4,096 candidates of 30,000 documents.
_N_CANDIDATES, _N_DEEP = 2048, 8192
# Where there are very many documents, more candidates than the longest walk fetches at first.
_PER_ROOT = 18.0
# Beyond the candidates lie documents whose coarse codes err: of those found by looking so many times as far, the
# best by all their codes are scored. Of the rest, one document in so many is scored and stands for all of them;
# fewer than the hits of any depth, so that a single miss counts as it should.
_FURTHER, _N_PASSED_OVER = 3, 256
_STANDS_FOR = 8
# Queries that are scored together, and documents that are read before what was read of them leaves the memory.
_AT_ONCE, _DOCS_AT_ONCE = 16, 4096
_MOST_BEYOND = _N_DEEP // _STANDS_FOR + max(DEPTHS)
Z_STEPS = np.arange(-1.0, 8.25, 0.25, dtype=np.float32)
# For each depth and step of z.
_REAL_RECALL = 1 - np.exp(
    np.stack([np.interp(Z_STEPS, np.arange(9), misses) for misses in np.log(REAL_MISSES)])
)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Attributes:
    recall: (len(DEPTHS), n_steps) float32, for each step of z the recall measured on queries that
        the prefilter was not fitted on.
    """

    recall: F32

    def to_json(self) -> list[list[float]]:
        return [[round(float(value), 5) for value in row] for row in self.recall]

    @classmethod
    def from_json(cls, rows: object) -> "Calibration":
        """Raises: ValueError: if it is not what `to_json` gave."""
        recall = np.asarray(rows, np.float32)
        if recall.shape != (len(DEPTHS), len(Z_STEPS)) or not np.isfinite(recall).all():
            raise ValueError(f"a calibration of shape {recall.shape}")
        return cls(recall)

    def z(self, recall: float, k: int) -> float | None:
        """The smallest z that kept the recall with safety, as it did for real queries of other collections.

        Or, if that is more than any z kept, one that kept hardly less than the largest: what lies beyond all
        candidates, no walk meets.
        Returns: None if not even the largest kept the recall, and every document must be scored.
        """
        row = _row(k)
        most, allowed = self.recall[row, -1], 1 - recall
        if most < recall:
            return None
        needed = min(1 - _SAFETY * allowed, float(most) - _HARDLY_LESS * allowed)
        kept = np.flatnonzero((self.recall[row] >= needed) & (_REAL_RECALL[row] >= recall))
        return float(Z_STEPS[kept[0] if len(kept) else -1])

    def measured_z(self, recall: float, k: int) -> float | None:
        """The smallest z that kept the recall on the queries of this calibration; None if none did."""
        kept = np.flatnonzero(self.recall[_row(k)] >= recall)
        return float(Z_STEPS[kept[0]]) if len(kept) else None


def _row(k: int) -> int:
    return min(int(np.searchsorted(DEPTHS, k)), len(DEPTHS) - 1)


class RecallSimulation:
    """Collects, segment by segment, what a calibration replays: candidates, and some documents beyond them.

    Scoring every document for every query would cost as much as embedding them all, and again at each
    measurement of a growing index.
    """

    def __init__(
        self, prefilter: LearnedPrefilter, codec: RotatedCodec, queries: Sequence[F32], n_threads: int
    ) -> None:
        self._prefilter = prefilter
        self._queries = [codec.prepare_query(query) for query in queries]
        self._vectors = [prefilter.embed_query(query) for query in self._queries]
        self._n_threads = n_threads
        self._segments: list[kernels.Codes] = []
        self._releases: list[Callable[[], None]] = []
        self._n_docs = 0
        nothing = _Found(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        self._candidates = [nothing] * len(queries)
        self._passed_over = [nothing] * len(queries)
        self._sampled = [nothing] * len(queries)

    def add(
        self,
        document_codes: DocumentCodes,
        codes: kernels.Codes,
        among: NDArray[np.bool_],
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """Search a segment, of which `among` says the documents that count.

        Args:
            release: takes what was read of the codes out of memory, which is done every few thousand documents.
        """
        number = len(self._segments)
        self._segments.append(codes)
        self._releases.append(release)
        self._n_docs += codes.n_docs
        index = self._prefilter.index([document_codes])
        for i, (vector, baseline) in enumerate(self._vectors):
            rows, products = index.search(vector, self._depth(i), among)
            found = _Found(np.full(len(rows), number), rows, products + np.float32(baseline))
            self._candidates[i] = self._candidates[i].joined(found, self._depth(i))
            further, products = index.search(vector, _FURTHER * self._depth(i), among)
            new = ~np.isin(further, rows)
            further, products = further[new][:_N_PASSED_OVER], products[new][:_N_PASSED_OVER]
            found = _Found(np.full(len(further), number), further, products + np.float32(baseline))
            self._passed_over[i] = self._passed_over[i].joined(found, _N_PASSED_OVER)
        sampled = np.flatnonzero(among)[number % _STANDS_FOR :: _STANDS_FOR]
        for some in _few_at_once(sampled):
            for first in range(0, len(self._queries), _AT_ONCE):
                batch = self._queries[first : first + _AT_ONCE]
                scores = kernels.score_codes_batch(batch, codes, ordinals=some, n_threads=self._n_threads)
                for i, row in enumerate(scores, first):
                    found = _Found(np.full(len(some), number), some, row)
                    self._sampled[i] = self._sampled[i].joined(found, _MOST_BEYOND)
            release()

    def calibration(self, first: int = 0) -> Calibration:
        """Of all that was added, for the queries from number `first` on."""
        rows = []
        for k in DEPTHS:
            rows.append(self.recalls(k, range(first, len(self._queries))).mean(axis=0))
        return Calibration(np.stack(rows))

    def kept(self, z: float, k: int, n: int) -> float:
        """Mean recall@k of the first n queries when walks stop at z, one of a calibration's."""
        return float(self.recalls(k, range(n))[:, np.searchsorted(Z_STEPS, z)].mean())

    def recalls(self, k: int, numbers: range) -> F32:
        """(n_queries, n_steps) recall@k of walks that stop at each step of z.

        Args:
            numbers: of queries; those with too few candidates for k hits are left out.
        """
        return np.stack([replay.recall(k) for replay in self._deep_enough(k, numbers)])

    def n_scored(self, k: int, numbers: range) -> I64:
        """(n_queries, n_steps) documents that these walks score."""
        return np.stack([replay.n_scored(k) for replay in self._deep_enough(k, numbers)])

    def _deep_enough(self, k: int, numbers: range) -> list["_SimulatedQuery"]:
        return [self._replayed[i] for i in numbers if k <= DEPTHS[0] or self._depth(i) >= _N_DEEP]

    def _depth(self, i: int) -> int:
        """Candidates of query number i: all documents while there are few, more where there are very many."""
        shallow = i % 2 == 0 and self._n_docs > _N_DEEP
        return max(_N_CANDIDATES if shallow else _N_DEEP, int(_PER_ROOT * self._n_docs**0.5))

    @lazy
    def _replayed(self) -> list["_SimulatedQuery"]:
        return [self._replay(i) for i in range(len(self._queries))]

    def _replay(self, i: int) -> "_SimulatedQuery":
        """As a search would: candidates are scored by the first plane, the best of them by all planes."""
        candidates, passed_over, sampled = self._candidates[i], self._passed_over[i], self._sampled[i]
        coarse = self._scores(i, candidates, n_planes=1)
        best = np.argsort(-coarse, kind="stable")[: 2 * max(DEPTHS)]
        fine = np.full(len(coarse), -np.inf, np.float32)
        fine[best] = self._scores(i, candidates.of(best), n_planes=None)
        beyond = np.ones(len(sampled.rows), bool)
        for scored in (candidates, passed_over):
            for number in range(len(self._segments)):
                rows = scored.rows[scored.segments == number]
                beyond &= (sampled.segments != number) | ~np.isin(sampled.rows, rows)
        near = self._scores(i, passed_over, n_planes=None)
        return _SimulatedQuery(candidates.values, coarse, fine, near, sampled.values[beyond])

    def _scores(self, i: int, found: "_Found", *, n_planes: int | None) -> F32:
        scores = np.empty(len(found.rows), np.float32)
        for number, codes in enumerate(self._segments):
            for here in _few_at_once(np.flatnonzero(found.segments == number)):
                scores[here] = kernels.score_codes(
                    self._queries[i],
                    codes,
                    ordinals=found.rows[here],
                    n_planes=n_planes,
                    n_threads=self._n_threads,
                )
                self._releases[number]()
        return scores


def _few_at_once(documents: I64) -> list[I64]:
    return [documents[first : first + _DOCS_AT_ONCE] for first in range(0, len(documents), _DOCS_AT_ONCE)]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Documents of several segments, best first.

    Attributes:
        segments, rows: (n,) int64, numbers of segments and ordinals in them.
        values: (n,) float32 that they are ordered by, descending.
    """

    segments: I64
    rows: I64
    values: F32

    def of(self, places: I64) -> "_Found":
        return _Found(self.segments[places], self.rows[places], self.values[places])

    def joined(self, other: "_Found", n: int) -> "_Found":
        """The n best of both."""
        both = _Found(
            np.concatenate([self.segments, other.segments]),
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.values, other.values]),
        )
        return both.of(np.argsort(-both.values, kind="stable")[:n])


@dataclass(frozen=True, slots=True, eq=False)
class _SimulatedQuery:
    """One query's walk, to be stopped at any z.

    Attributes:
        estimates: (n,) float32 of the candidates, descending.
        coarse: (n,) float32, their MaxSim by the first plane, which decides where a walk stops.
        fine: (n,) float32, by all planes; -inf for those that are not among the best.
        passed_over: scores of documents that further candidates would have been.
        beyond: scores of sampled documents that are neither.
    """

    estimates: F32
    coarse: F32
    fine: F32
    passed_over: F32
    beyond: F32

    def recall(self, k: int) -> F32:
        """For each z, the share of the k best that the walk meets; a tie with the k-th best is one of them.

        A sampled document takes the places of all it stands for.
        """
        depth = min(k, len(self.fine))
        scores = np.concatenate([self.fine, self.passed_over, self.beyond])
        n_places = np.ones(len(scores), np.int64)
        n_places[len(scores) - len(self.beyond) :] = _STANDS_FOR
        order = np.argsort(-scores, kind="stable")
        kth_best = scores[order[np.searchsorted(np.cumsum(n_places[order]), depth)]]
        met = np.minimum(np.cumsum(self.fine >= kth_best), depth)
        recall: F32 = (met[self.n_scored(k) - 1] / depth).astype(np.float32)
        return recall

    def n_scored(self, k: int) -> I64:
        """For each z, how many candidates the walk scores."""
        reached = np.maximum.accumulate(kernels.margins(self.coarse, self.estimates, k))
        # The first candidate that is out of reach by more than z is the one that is not scored any more.
        return np.maximum(np.searchsorted(reached, Z_STEPS, side="right"), 1)
