"""The documents that the prefilter covers: found by FAISS, scored where they lie in their segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import colsearch_kernels as kernels
from colsearch.prefilter.model import LearnedPrefilter
from colsearch.prefilter.stored import stored_codes
from colsearch.prefilter.vector_index import VectorIndex
from colsearch.scoring.scorer import Ranking, Scorer, searchable
from colsearch.store.container import Container
from colsearch.store.snapshot import LiveSegment
from colsearch.types import F32, I64, Profile

# A document is read again while its score on the first plane is within so many deviations of the k-th best, and a few
# in any case, to see how large these are.
_REFINED_DEVIATIONS, _REFINED_MORE = 4.0, 6


class CandidateIndex:
    """Several segments as one list of rows, one row a document; made anew when the segments change.

    In memory: the coarse codes of the prefilter, and 64 bytes of addresses and numbers a document.

    Attributes:
        files: the prefilter files it was made of.
    """

    def __init__(self, prefilter: LearnedPrefilter, parts: Sequence[LiveSegment], scorer: Scorer) -> None:
        self.files = prefilter_files(parts)
        self._prefilter = prefilter
        self._segments = [part.segment for part in parts]
        self._doc_nos = np.concatenate([segment.doc_nos for segment in self._segments])
        self._starts = np.cumsum([0, *(segment.n_docs for segment in self._segments)])
        codes = [
            stored_codes(file, prefilter, segment.n_docs) for file, segment in zip(self.files, self._segments)
        ]
        self._index: VectorIndex = prefilter.index(codes)
        self._documents = kernels.Scattered([scorer.codes(segment) for segment in self._segments])
        # Of which documents the first plane has been verified, and of which all planes.
        self._verified = {
            1: np.zeros(len(self._doc_nos), np.uint8),
            None: np.zeros(len(self._doc_nos), np.uint8),
        }

    @property
    def n_docs(self) -> int:
        return len(self._doc_nos)

    def candidates(
        self, parts: Sequence[LiveSegment], query: kernels.QuantizedQuery, n: int, allowed: I64 | None
    ) -> tuple[I64, F32]:
        """The n best by the prefilter: rows and estimates of their MaxSim, best first.

        Args:
            parts: the same segments, as the snapshot sees them.
            allowed: sorted doc_nos that passed the filter, or None for every document.
        """
        vector, baseline = self._prefilter.embed_query(query)
        selections = [_selection(part, allowed) for part in parts]
        among = None
        if any(selection is not None for selection in selections):
            among = np.concatenate(
                [
                    np.ones(part.segment.n_docs, bool) if selection is None else selection
                    for part, selection in zip(parts, selections)
                ]
            )
        rows, products = self._index.search(vector, n, among)
        return rows, products + np.float32(baseline)

    def follow(
        self,
        query: kernels.QuantizedQuery,
        rows: I64,
        estimates: F32,
        *,
        k: int,
        z: float,
        others: F32,
        n_threads: int,
        profile: Profile,
    ) -> kernels.Followed:
        """Score candidates on the first plane, in their order, until the next is out of reach of the k best."""
        return self._follow(
            query,
            rows,
            estimates,
            1,
            k=k,
            stop_deviations=z,
            competing_scores=others,
            n_threads=n_threads,
            profile=profile,
        )

    def refine(
        self,
        query: kernels.QuantizedQuery,
        rows: I64,
        scores: F32,
        *,
        k: int,
        n_threads: int,
        profile: Profile,
    ) -> Ranking:
        """The k best on all planes, of documents whose scores on the first one are known.

        These are followed in turn, as estimates that are hardly off: a few more than k are read again.
        """
        best = kernels.best_first(scores)
        rows = rows[best]
        refined = self._follow(
            query, rows, scores[best], None, k=k, stop_deviations=_REFINED_DEVIATIONS, competing_scores=None,
            first_check=k + _REFINED_MORE, n_threads=n_threads, profile=profile,
        ).scores  # fmt: skip
        return Ranking.best(self._doc_nos[rows[: len(refined)]], refined, k)

    def _follow(
        self,
        query: kernels.QuantizedQuery,
        rows: I64,
        estimates: F32,
        n_planes: int | None,
        *,
        n_threads: int,
        profile: Profile,
        **rule: Any,
    ) -> kernels.Followed:
        scorer = kernels.ScatteredScorer(query, self._documents, n_planes=n_planes)
        following = scorer.start_following(
            rows, estimates, verified=self._verified[n_planes], n_threads=n_threads, **rule
        )
        while (unverified := following.advance()) is not None:
            self._verify(unverified, n_planes)
        followed = following.result
        self._count(rows[: len(followed.scores)], n_planes, profile)
        return followed

    def _count(self, rows: I64, n_planes: int | None, profile: Profile) -> None:
        n_tokens = int(self._documents.doclens[rows].sum())
        profile.n_scored += len(rows)
        profile.n_tokens_scored += n_tokens
        profile.bytes_read += n_tokens * sum(p.shape[1] + 2 for p in self._segments[0].planes[:n_planes])

    def _verify(self, rows: I64, n_planes: int | None) -> None:
        """Verify the codes of documents against their checksums, before `_follow` reads them."""
        for start, segment in zip(self._starts, self._segments):
            segment.verify(rows[(rows >= start) & (rows < start + segment.n_docs)] - start, n_planes)
        self._verified[n_planes][rows] = 1


def prefilter_files(parts: Sequence[LiveSegment]) -> list[Container]:
    """The segments' prefilter files; a segment without one is not among its `parts`."""
    return [part.prefilter for part in parts if part.prefilter is not None]


def _selection(part: LiveSegment, allowed: I64 | None) -> NDArray[np.bool_] | None:
    """Which documents of a segment may become candidates; None for all."""
    ordinals = searchable(part, allowed)
    if ordinals is None and part.segment.tokenless is None:
        return None
    among = np.full(part.segment.n_docs, ordinals is None)
    if ordinals is not None:
        among[ordinals] = True
    if part.segment.tokenless is not None:
        among &= ~part.segment.tokenless
    return among
