"""Candidate search: FAISS names documents by their estimates, MaxSim scores them where their codes lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

import colsearch_kernels as kernels
from colsearch.prefilter.calibration import first_fetch
from colsearch.prefilter.model import LearnedPrefilter
from colsearch.prefilter.stored import stored_codes
from colsearch.prefilter.vector_index import VectorIndex
from colsearch.scoring.ranking import Ranking
from colsearch.scoring.scorer import Scorer, SearchContext, bytes_per_token
from colsearch.scoring.selection import SelectedSegment
from colsearch.store.container import Container
from colsearch.types import F32, I64
from colsearch_kernels.scoring.stop_rule import FIRST_CHECK

# If the fetched candidates run out, this many times as many are fetched.
_MORE = 8
# All planes score a document again while its first-plane score is within this many deviations of the k-th best,
# and a few documents in any case, which shows how large the deviations are.
_REFINED_DEVIATIONS, _REFINED_MORE = 4.0, 6


class CandidateIndex:
    """All segments that the prefilter covers, as one list of rows, one row per document.

    In memory: the coarse document codes, and 64 bytes of addresses and numbers per document.

    Attributes:
        files: the segments' prefilter files, by which a newer snapshot knows that nothing changed.
        n_docs: documents of all covered segments, deleted ones included.
    """

    def __init__(
        self, prefilter: LearnedPrefilter, covered: Sequence[SelectedSegment], scorer: Scorer
    ) -> None:
        self.files = prefilter_files(covered)
        self._query_vectors = prefilter.query_vectors
        self._segments = [selected.segment for selected in covered]
        self._doc_nos = np.concatenate([segment.doc_nos for segment in self._segments])
        self._starts = np.cumsum([0, *(segment.n_docs for segment in self._segments)])
        self.n_docs = len(self._doc_nos)
        # Most calls ask for the same recall and k.
        self._first_fetch = lru_cache(maxsize=64)(partial(first_fetch, self.n_docs))
        codes = [
            stored_codes(file, prefilter, segment.n_docs) for file, segment in zip(self.files, self._segments)
        ]
        self._index: VectorIndex = prefilter.index(codes)
        self._documents = kernels.Scattered([scorer.codes(segment) for segment in self._segments])
        # For the first plane (1) and for all planes (None): which documents' codes have been verified.
        self._verified = {n_planes: np.zeros(self.n_docs, np.uint8) for n_planes in (1, None)}
        self._bytes_per_token = {n: bytes_per_token(self._segments[0], n) for n in (1, None)}

    def search(
        self,
        query: kernels.QuantizedQuery,
        k: int,
        stop_deviations: float,
        can_be_hits: NDArray[np.bool_] | None,
        tail: Ranking | None,
        context: SearchContext,
    ) -> Ranking | None:
        """The k best of these documents and the tail; None if the candidates ran out before the stop rule applied.

        Args:
            can_be_hits: (n_docs,) bool; None for all.
            tail: the best of the segments that the prefilter does not cover; they compete for the k places.
        """
        for n in self._fetch_sizes(k, stop_deviations):
            rows, estimates = self.fetch(query, n, can_be_hits)
            context.marks.append(("prefilter", perf_counter()))
            followed = self._follow(
                query,
                rows,
                estimates,
                1,
                context,
                k=k,
                stop_deviations=stop_deviations,
                competing_scores=None if tail is None else tail.scores,
            )
            context.marks.append(("score", perf_counter()))
            if followed.complete or len(rows) < n:
                refined = self._refine(query, rows[: len(followed.scores)], followed.scores, k, context)
                context.marks.append(("refine", perf_counter()))
                context.profile.n_candidates += len(followed.scores)
                return refined if tail is None else Ranking.joined([tail, refined], k)
        return None

    def fetch(
        self, query: kernels.QuantizedQuery, n: int, can_be_hits: NDArray[np.bool_] | None
    ) -> tuple[I64, F32]:
        """Rows of the n best by the prefilter, and the estimates of their MaxSim, best first."""
        vector, baseline = self._query_vectors.embed(query)
        rows, products = self._index.search(vector, n, can_be_hits)
        return rows, products + np.float32(baseline)

    def _fetch_sizes(self, k: int, stop_deviations: float) -> Iterator[int]:
        """How many candidates to fetch, until they suffice; beyond half of all documents a scan costs no more."""
        most = self.n_docs // 2
        n = self._first_fetch(k, stop_deviations)
        while n < most:
            yield n
            n = min(n * _MORE, most)
        yield n

    def _refine(
        self, query: kernels.QuantizedQuery, rows: I64, scores: F32, k: int, context: SearchContext
    ) -> Ranking:
        """The k best by all planes, of documents whose first-plane scores are known.

        These scores serve as estimates that are hardly off, so that a few more than k documents are read again.
        """
        best = kernels.best_first(scores)
        rows = rows[best]
        refined = self._follow(
            query,
            rows,
            scores[best],
            None,
            context,
            k=k,
            stop_deviations=_REFINED_DEVIATIONS,
            first_check=k + _REFINED_MORE,
        ).scores
        doc_nos = self._doc_nos[rows[: len(refined)]]
        order = kernels.best_k(refined, doc_nos, k)
        return Ranking(doc_nos[order], refined[order])

    def _follow(
        self,
        query: kernels.QuantizedQuery,
        rows: I64,
        estimates: F32,
        n_planes: int | None,
        context: SearchContext,
        *,
        k: int,
        stop_deviations: float,
        competing_scores: F32 | None = None,
        first_check: int = FIRST_CHECK,
    ) -> kernels.Followed:
        scorer = kernels.ScatteredScorer(query, self._documents, n_planes=n_planes)
        following = scorer.start_following(
            rows,
            estimates,
            k=k,
            stop_deviations=stop_deviations,
            verified=self._verified[n_planes],
            competing_scores=competing_scores,
            first_check=first_check,
            n_threads=context.n_threads,
        )
        while (unverified := following.advance()) is not None:
            self._verify(unverified, n_planes)
        followed = following.result
        n_scored = len(followed.scores)
        n_tokens = int(self._documents.doclens[rows[:n_scored]].sum())
        context.profile.n_scored += n_scored
        context.profile.n_tokens_scored += n_tokens
        context.profile.bytes_read += n_tokens * self._bytes_per_token[n_planes]
        return followed

    def _verify(self, rows: I64, n_planes: int | None) -> None:
        """Verify the codes of these documents, before `_follow` reads them."""
        for start, segment in zip(self._starts, self._segments):
            segment.verify(rows[(rows >= start) & (rows < start + segment.n_docs)] - start, n_planes)
        self._verified[n_planes][rows] = 1


def prefilter_files(covered: Sequence[SelectedSegment]) -> list[Container]:
    """The prefilter files of segments that have one."""
    return [selected.prefilter for selected in covered if selected.prefilter is not None]
