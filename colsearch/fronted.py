"""The documents that the prefilter covers: found by FAISS, scored where they lie in their segments."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

import colsearch_kernels as kernels
from colsearch.prefilters import LearnedPrefilter, VectorIndex
from colsearch.scorer import Ranking, Scorer, searchable
from colsearch.store import Container, LiveSegment
from colsearch.types import F32, I64, Profile


class Fronted:
    """Several segments as one list of rows, one row a document; made anew when the segments change.

    In memory: the document codes of the prefilter, and 48 bytes of addresses and numbers a document.

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
            file.array("codes", "|u1", (segment.n_docs, prefilter.n_dims // 4))
            for file, segment in zip(self.files, self._segments)
        ]
        self._index: VectorIndex = prefilter.index(np.concatenate(codes))
        self._documents = kernels.Scattered([scorer.codes(segment) for segment in self._segments])
        # How many planes of each document have been verified.
        self._n_verified = np.zeros(len(self._doc_nos), np.uint8)

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

    def scorer(
        self, query: kernels.QuantizedQuery, *, n_planes: int | None, n_threads: int, profile: Profile
    ) -> Callable[[I64], F32]:
        """A function from rows to the MaxSim of their documents."""
        scorer = kernels.ScatteredScorer(query, self._documents, n_planes=n_planes)
        planes = self._segments[0].planes[:n_planes]
        token_bytes = sum(plane.shape[1] + 2 for plane in planes)

        def score(rows: I64) -> F32:
            self._verify(rows, n_planes)
            n_tokens = int(self._documents.doclens[rows].sum())
            profile.n_scored += len(rows)
            profile.n_tokens_scored += n_tokens
            profile.bytes_read += n_tokens * token_bytes
            return scorer.score(rows, n_threads=n_threads)

        return score

    def ranking(self, rows: I64, scores: F32, k: int) -> Ranking:
        """The k best of scored rows."""
        return Ranking.best(self._doc_nos[rows], scores, k)

    def _verify(self, rows: I64, n_planes: int | None) -> None:
        """Check what was not checked before; to see that there is nothing left takes a microsecond."""
        needed = len(self._segments[0].planes) if n_planes is None else n_planes
        new = rows[self._n_verified[rows] < needed]
        if not len(new):
            return
        for start, segment in zip(self._starts, self._segments):
            segment.verify(new[(new >= start) & (new < start + segment.n_docs)] - start, n_planes)
        self._n_verified[new] = needed


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
