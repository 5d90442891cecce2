"""Simulated queries: which recall each z would give, without scoring every document for every query.

Scoring every document for every query would cost as much as embedding all documents, and would be due again at
each calibration of a growing index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import colsearch_kernels as kernels
from colsearch.codec.rotated import RotatedCodec
from colsearch.prefilter.calibration import DEPTHS, Z_STEPS, Calibration, simulated_depth
from colsearch.prefilter.model import LearnedPrefilter
from colsearch.prefilter.quantizer import DocumentCodes
from colsearch.types import F32, I64
from colsearch_kernels.runtime.lazy import lazy

# Candidates replayed per query: the first number for even-numbered queries, the second for odd ones. Only the
# latter are used for 100 hits, since .995 of these take more than 4,096 candidates of 30,000 documents.
_N_CANDIDATES, _N_DEEP = 2048, 8192
# Coarse codes err, so a query could also find documents beyond its candidates: a search `_FURTHER` times as deep
# gives `_N_MISSED_BY_COARSE` more, which are scored.
_FURTHER, _N_MISSED_BY_COARSE = 3, 256
# One in so many of the remaining documents is scored and counts for all of these. It is fewer than the hits of any
# depth, so that a single miss counts as it should.
_STANDS_FOR = 8
# Queries that are scored together, and documents that are read before what was read of them leaves the memory.
_QUERIES_PER_BATCH, _DOCS_PER_BLOCK = 16, 4096
_MOST_SAMPLED = _N_DEEP // _STANDS_FOR + max(DEPTHS)


class RecallSimulation:
    """Collects, segment by segment, what queries would meet; then says the recall of each stop.

    Args:
        queries: (n_query_tokens, dim) float32 each, which the prefilter was not fitted on.
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
        nothing = _Documents(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        # For each query: its candidates, documents that coarse codes miss, and a sample of all documents.
        self._candidates = [nothing] * len(queries)
        self._missed_by_coarse = [nothing] * len(queries)
        self._sampled = [nothing] * len(queries)

    def add(
        self,
        document_codes: DocumentCodes,
        codes: kernels.Codes,
        can_be_hits: NDArray[np.bool_],
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """Search one more segment.

        Args:
            document_codes: of all the segment's documents.
            codes: their token codes.
            can_be_hits: (n_docs,) bool.
            release: takes what was read of the codes out of memory; called every few thousand documents.
        """
        number = len(self._segments)
        self._segments.append(codes)
        self._releases.append(release)
        self._n_docs += codes.n_docs
        self._add_candidates(number, document_codes, can_be_hits)
        self._add_sample(number, codes, np.flatnonzero(can_be_hits)[number % _STANDS_FOR :: _STANDS_FOR])

    def calibration(self, first: int = 0) -> Calibration:
        """The mean recall of the queries from number `first` on."""
        numbers = range(first, len(self._queries))
        return Calibration(np.stack([self.recalls(k, numbers).mean(axis=0) for k in DEPTHS]))

    def recall_at(self, stop_deviations: float, k: int, n_queries: int) -> float:
        """Mean recall@k of the first queries if they stop at this z, one of `Z_STEPS`."""
        return float(self.recalls(k, range(n_queries))[:, np.searchsorted(Z_STEPS, stop_deviations)].mean())

    def recalls(self, k: int, numbers: range) -> F32:
        """(n_queries, n_steps) recall@k of these queries for each z.

        Queries with too few candidates for k hits are left out.
        """
        return np.stack([query.recall(k) for query in self._deep_enough(k, numbers)])

    def n_scored(self, k: int, numbers: range) -> I64:
        """(n_queries, n_steps) documents that these queries score for each z."""
        return np.stack([query.n_scored(k) for query in self._deep_enough(k, numbers)])

    def _add_candidates(
        self, number: int, document_codes: DocumentCodes, can_be_hits: NDArray[np.bool_]
    ) -> None:
        index = self._prefilter.index([document_codes])
        for i, (vector, baseline) in enumerate(self._vectors):
            depth = self._depth(i)
            rows, products = index.search(vector, depth, can_be_hits)
            candidates = _Documents.of_segment(number, rows, products + np.float32(baseline))
            self._candidates[i] = self._candidates[i].best_with(candidates, depth)
            further, products = index.search(vector, _FURTHER * depth, can_be_hits)
            missed = np.flatnonzero(~np.isin(further, rows))[:_N_MISSED_BY_COARSE]
            documents = _Documents.of_segment(
                number, further[missed], products[missed] + np.float32(baseline)
            )
            self._missed_by_coarse[i] = self._missed_by_coarse[i].best_with(documents, _N_MISSED_BY_COARSE)

    def _add_sample(self, number: int, codes: kernels.Codes, sampled: I64) -> None:
        for ordinals in _blocks(sampled):
            for first in range(0, len(self._queries), _QUERIES_PER_BATCH):
                batch = self._queries[first : first + _QUERIES_PER_BATCH]
                scores = kernels.score_codes_batch(batch, codes, ordinals=ordinals, n_threads=self._n_threads)
                for i, of_query in enumerate(scores, first):
                    documents = _Documents.of_segment(number, ordinals, of_query)
                    self._sampled[i] = self._sampled[i].best_with(documents, _MOST_SAMPLED)
            self._releases[number]()

    def _deep_enough(self, k: int, numbers: range) -> list[_SimulatedQuery]:
        return [self._simulated[i] for i in numbers if k <= DEPTHS[0] or self._depth(i) >= _N_DEEP]

    def _depth(self, i: int) -> int:
        """Candidates of query i: all documents of a small index, more than `_N_DEEP` in a very large one."""
        shallow = i % 2 == 0 and self._n_docs > _N_DEEP
        return max(_N_CANDIDATES if shallow else _N_DEEP, simulated_depth(self._n_docs))

    @lazy
    def _simulated(self) -> list[_SimulatedQuery]:
        return [self._simulate(i) for i in range(len(self._queries))]

    def _simulate(self, i: int) -> _SimulatedQuery:
        """As a search does it: the first plane scores all candidates, all planes score the best of them."""
        candidates, missed, sampled = self._candidates[i], self._missed_by_coarse[i], self._sampled[i]
        coarse = self._scores(i, candidates, n_planes=1)
        best = np.argsort(-coarse, kind="stable")[: 2 * max(DEPTHS)]
        fine = np.full(len(coarse), -np.inf, np.float32)
        fine[best] = self._scores(i, candidates.take(best), n_planes=None)
        is_rest = ~(sampled.is_in(candidates) | sampled.is_in(missed))
        missed_scores = self._scores(i, missed, n_planes=None)
        return _SimulatedQuery(candidates.values, coarse, fine, missed_scores, sampled.values[is_rest])

    def _scores(self, i: int, documents: _Documents, *, n_planes: int | None) -> F32:
        scores = np.empty(len(documents.ordinals), np.float32)
        for number, codes in enumerate(self._segments):
            for rows in _blocks(np.flatnonzero(documents.segments == number)):
                scores[rows] = kernels.score_codes(
                    self._queries[i],
                    codes,
                    ordinals=documents.ordinals[rows],
                    n_planes=n_planes,
                    n_threads=self._n_threads,
                )
                self._releases[number]()
        return scores


def _blocks(documents: I64) -> list[I64]:
    return [documents[first : first + _DOCS_PER_BLOCK] for first in range(0, len(documents), _DOCS_PER_BLOCK)]


@dataclass(frozen=True, slots=True, eq=False)
class _Documents:
    """Documents of several segments, best first.

    Attributes:
        segments: (n,) int64 numbers of the segments.
        ordinals: (n,) int64 places in these.
        values: (n,) float32, descending.
    """

    segments: I64
    ordinals: I64
    values: F32

    @classmethod
    def of_segment(cls, number: int, ordinals: I64, values: F32) -> _Documents:
        return cls(np.full(len(ordinals), number), ordinals, values)

    def take(self, rows: I64) -> _Documents:
        return _Documents(self.segments[rows], self.ordinals[rows], self.values[rows])

    def best_with(self, others: _Documents, n: int) -> _Documents:
        """The n best of both."""
        both = _Documents(
            np.concatenate([self.segments, others.segments]),
            np.concatenate([self.ordinals, others.ordinals]),
            np.concatenate([self.values, others.values]),
        )
        return both.take(np.argsort(-both.values, kind="stable")[:n])

    def is_in(self, others: _Documents) -> NDArray[np.bool_]:
        """(n,) bool, which of these documents are among the others."""
        found = np.zeros(len(self.ordinals), bool)
        for number in np.unique(self.segments):
            rows = self.segments == number
            found[rows] = np.isin(self.ordinals[rows], others.ordinals[others.segments == number])
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _SimulatedQuery:
    """One query, which can be stopped at any z.

    Attributes:
        estimates: (n,) float32 of the candidates, descending.
        coarse: (n,) float32, their MaxSim by the first plane, which decides where the query stops.
        fine: (n,) float32, their MaxSim by all planes; -inf for those that are not among the best.
        missed_by_coarse: scores of documents that a deeper search would have added.
        sampled_rest: scores of a sample of the remaining documents.
    """

    estimates: F32
    coarse: F32
    fine: F32
    missed_by_coarse: F32
    sampled_rest: F32

    def recall(self, k: int) -> F32:
        """(n_steps,) for each z, the share of the k best that the query finds; a tie with the k-th best counts.

        A sampled document takes the places of all documents that it stands for.
        """
        depth = min(k, len(self.fine))
        scores = np.concatenate([self.fine, self.missed_by_coarse, self.sampled_rest])
        n_places = np.ones(len(scores), np.int64)
        n_places[len(scores) - len(self.sampled_rest) :] = _STANDS_FOR
        order = np.argsort(-scores, kind="stable")
        kth_best = scores[order[np.searchsorted(np.cumsum(n_places[order]), depth)]]
        n_found = np.minimum(np.cumsum(self.fine >= kth_best), depth)
        recall: F32 = (n_found[self.n_scored(k) - 1] / depth).astype(np.float32)
        return recall

    def n_scored(self, k: int) -> I64:
        """(n_steps,) for each z, how many candidates the query scores."""
        furthest = np.maximum.accumulate(kernels.margins(self.coarse, self.estimates, k))
        # The first candidate that is out of reach by more than z is not scored, nor is any after it.
        return np.maximum(np.searchsorted(furthest, Z_STEPS, side="right"), 1)
