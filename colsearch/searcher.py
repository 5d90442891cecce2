"""Queries over one snapshot: candidates, then scores, then the k best."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from colsearch.errors import DamagedError
from colsearch.hybrid import N_LEXICAL, fused
from colsearch.planning import scans
from colsearch.prefilters import N_CANDIDATES, Calibration, LearnedPrefilter, VectorIndex, walk
from colsearch.scorer import Ranking, Scorer, searchable
from colsearch.store import Container, LiveSegment, Model, Snapshot
from colsearch.types import F32, I64, Profile
from colsearch_kernels import QuantizedQuery
from colsearch_kernels.pool import run

# Where a walk needs more candidates than were fetched, so many times as many are.
_MORE = 8
# Of the candidates, those that are scored again with all planes.
_MIN_REFINED = 32


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of every query of a call.

    Attributes:
        k: hits wanted.
        allowed: sorted doc_nos that passed the filter, or None for every document.
        recall: the share of the exact k best to find; 1 scores every allowed document.
        n_threads: threads to use.
    """

    k: int
    allowed: I64 | None
    recall: float
    n_threads: int


@dataclass(frozen=True, slots=True)
class Searched:
    """One query, its result, and how that came about."""

    query: F32
    ranking: Ranking
    profile: Profile = field(default_factory=Profile)


@dataclass(frozen=True, slots=True)
class _Fronted:
    """The FAISS index over the segments that have prefilter files, and the number of each of its rows."""

    files: list[Container]
    index: VectorIndex
    doc_nos: I64


class Searcher:
    """Plans and runs queries: a scan, which is exact, while that is cheap; else the prefilter first."""

    def __init__(self, scorer: Scorer, dim: int, padded_dim: int) -> None:
        self._scorer = scorer
        self._dim = dim
        self._padded_dim = padded_dim
        self._prefilters: WeakKeyDictionary[Container, LearnedPrefilter] = WeakKeyDictionary()
        self._fronted: _Fronted | None = None

    def search(self, snapshot: Snapshot, queries: Sequence[F32], request: Request) -> list[Searched]:
        """The k best documents for each query.

        Args:
            queries: (n_query_tokens, dim) each.
        """
        n_tokens = _n_tokens(snapshot.parts, request.allowed)
        longest = max((len(query) for query in queries), default=0)
        model = snapshot.model
        if model is None or request.recall >= 1 or scans(n_tokens, longest, self._dim) <= 1:
            return self._scan(snapshot, queries, request)
        prefilter, z = self.prefilter(model), calibration(model).z(request.recall, request.k)
        if z is None:
            return self._scan(snapshot, queries, request)
        if len(queries) == 1:
            return [self.prefiltered(snapshot, queries[0], request, prefilter, z)]
        # Side by side, each on one thread: the results are the same, and no thread waits for another.
        alone = Request(request.k, request.allowed, request.recall, 1)
        found: list[Searched | None] = [None] * len(queries)

        def search_one(i: int) -> None:
            found[i] = self.prefiltered(snapshot, queries[i], alone, prefilter, z)

        run([partial(search_one, i) for i in range(len(queries))], request.n_threads)
        return [one for one in found if one is not None]

    def with_bm25(
        self, snapshot: Snapshot, found: Searched, text: str, request: Request, k: int, *, fuse: bool
    ) -> Searched:
        """The result with BM25's best added as candidates, or fused with BM25's order."""
        profile = found.profile
        with profile.stage("bm25"):
            doc_nos, scores = snapshot.bm25(text, max(N_LEXICAL, request.k))
        if request.allowed is not None:
            kept = np.isin(doc_nos, request.allowed)
            doc_nos, scores = doc_nos[kept], scores[kept]
        lexical = Ranking(doc_nos, scores)
        if fuse:
            return Searched(found.query, fused([found.ranking, lexical], k), profile)
        new = np.setdiff1d(doc_nos, found.ranking.doc_nos)
        with profile.stage("score"):
            query = self._scorer.prepare(found.query)
            maxsim = self._scorer.score(snapshot, query, new, n_threads=request.n_threads, profile=profile)
        profile.n_candidates += len(new)
        ranking = Ranking.joined([found.ranking, Ranking(new, maxsim)], k)
        return Searched(found.query, ranking, profile)

    def prefilter(self, model: Model) -> LearnedPrefilter:
        """The model as a prefilter.

        Raises: DamagedError: if what is stored does not fit together.
        """
        loaded = self._prefilters.get(model.file)
        if loaded is None:
            arrays = {name: model.file.rows(name) for name in model.file.section_bytes()}
            loaded = LearnedPrefilter.from_arrays(
                arrays, dim=self._dim, padded_dim=self._padded_dim, name=str(model.file.path)
            )
            self._prefilters[model.file] = loaded
        return loaded

    def candidates(
        self,
        parts: Sequence[LiveSegment],
        prefilter: LearnedPrefilter,
        query: F32,
        n: int,
        allowed: I64 | None,
    ) -> tuple[I64, F32]:
        """The prefilter's n best of segments that have one: doc_nos and estimates of MaxSim, best first."""
        vector, baseline = prefilter.embed_query(query)
        fronted = self._fronted_by(prefilter, parts)
        selections = [_selection(part, allowed) for part in parts]
        among = None
        if any(selection is not None for selection in selections):
            among = np.concatenate(
                [
                    np.ones(part.segment.n_docs, bool) if selection is None else selection
                    for part, selection in zip(parts, selections)
                ]
            )
        rows, products = fronted.index.search(vector, n, among)
        return fronted.doc_nos[rows], products + np.float32(baseline)

    def _fronted_by(self, prefilter: LearnedPrefilter, parts: Sequence[LiveSegment]) -> _Fronted:
        """The FAISS index of these segments, built anew when they have changed."""
        files = [part.prefilter for part in parts if part.prefilter is not None]
        if self._fronted is None or self._fronted.files != files:
            codes = [
                file.array("codes", "|u1", (part.segment.n_docs, prefilter.n_dims // 4))
                for part, file in zip(parts, files)
            ]
            doc_nos = np.concatenate([part.segment.doc_nos for part in parts])
            self._fronted = _Fronted(files, prefilter.index(np.concatenate(codes)), doc_nos)
        return self._fronted

    def _scan(self, snapshot: Snapshot, queries: Sequence[F32], request: Request) -> list[Searched]:
        profile = Profile()
        with profile.stage("prepare"):
            prepared = [self._scorer.prepare(query) for query in queries]
        with profile.stage("scan"):
            rankings = self._scorer.scan(
                snapshot.parts, prepared, request.k, allowed=request.allowed,
                n_threads=request.n_threads, profile=profile,
            )  # fmt: skip
        profile.n_candidates = profile.n_scored
        return [Searched(query, ranking, profile.copy()) for query, ranking in zip(queries, rankings)]

    def prefiltered(
        self, snapshot: Snapshot, query: F32, request: Request, prefilter: LearnedPrefilter, z: float
    ) -> Searched:
        """One query by way of the prefilter, or by a scan where it cannot keep its promise."""
        profile = Profile()
        fronted = [part for part in snapshot.parts if part.prefilter is not None]
        tail = [part for part in snapshot.parts if part.prefilter is None]
        with profile.stage("prepare"):
            prepared = self._scorer.prepare(query)
        with profile.stage("tail"):
            [newest] = self._scorer.scan(
                tail, [prepared], request.k, allowed=request.allowed,
                n_threads=request.n_threads, profile=profile,
            )  # fmt: skip
        n_fronted = sum(part.segment.n_docs for part in fronted)
        n = max(N_CANDIDATES, _MORE * request.k)
        while True:
            with profile.stage("prefilter"):
                doc_nos, estimates = self.candidates(fronted, prefilter, query, n, request.allowed)
            with profile.stage("score"):
                score = self._first_plane(snapshot, prepared, doc_nos, request.n_threads, profile)
                walked = walk(estimates, score, request.k, z, others=newest.scores)
            if walked.complete or len(doc_nos) < n:
                break
            n *= _MORE
            if n > n_fronted // 2:
                [scanned] = self._scan(snapshot, [query], request)
                return scanned
        with profile.stage("refine"):
            n_refined = max(_MIN_REFINED, 2 * request.k)
            best = Ranking.best(doc_nos[: len(walked.scores)], walked.scores, n_refined)
            scores = self._scorer.score(
                snapshot, prepared, best.doc_nos, n_threads=request.n_threads, profile=profile
            )
            refined = Ranking.best(best.doc_nos, scores, request.k)
        profile.n_candidates += len(walked.scores)
        return Searched(query, Ranking.joined([newest, refined], request.k), profile)

    def _first_plane(
        self, snapshot: Snapshot, query: QuantizedQuery, doc_nos: I64, n_threads: int, profile: Profile
    ) -> Callable[[int, int], F32]:
        def score(first: int, last: int) -> F32:
            return self._scorer.score(
                snapshot, query, doc_nos[first:last], n_planes=1, n_threads=n_threads, profile=profile
            )

        return score


def calibration(model: Model) -> Calibration:
    """What recall the prefilter was measured to keep.

    Raises: DamagedError: if the notes of the model are not what was written.
    """
    try:
        return Calibration.from_json(json.loads(model.notes)["recall"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedError(
            f"the notes of {model.file.path} in SQLite are malformed ({error}); run `colsearch check --repair`"
        ) from None


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


def _n_tokens(parts: Sequence[LiveSegment], allowed: I64 | None) -> int:
    total = 0
    for part in parts:
        ordinals = searchable(part, allowed)
        offsets = part.segment.offsets
        total += (
            part.segment.n_tokens
            if ordinals is None
            else int((offsets[ordinals + 1] - offsets[ordinals]).sum())
        )
    return total
