"""Queries over one snapshot: candidates, then scores, then the k best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from colsearch.prefilter.model import LearnedPrefilter
from colsearch.prefilter.state import usable_model
from colsearch.prefilter.stored import PrefilterCache
from colsearch.query.candidates import CandidateIndex, prefilter_files
from colsearch.query.fusion import N_LEXICAL, fused
from colsearch.scoring.cost import scan_cost
from colsearch.scoring.scorer import Ranking, Scorer, searchable
from colsearch.store.snapshot import LiveSegment, Snapshot
from colsearch.types import F32, I64, Hit, Hits, Profile
from colsearch_kernels.runtime.pool import run

# Candidates fetched at first, for each hit at least; and how many times as many where that is not enough.
_FIRST_PER_HIT, _MORE = 20, 8
# Tokens that a token costs to scan whose document is read without its neighbours.
_APART = 2


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
class QueryResult:
    """One query, its result, and how that came about."""

    query: F32
    ranking: Ranking
    profile: Profile = field(default_factory=Profile)


class QueryEngine:
    """Plans and runs queries: a scan, which is exact, while that is cheap; else the prefilter first."""

    def __init__(self, scorer: Scorer, models: PrefilterCache) -> None:
        self._scorer = scorer
        self._models = models
        self._fronted: CandidateIndex | None = None

    def search(self, snapshot: Snapshot, queries: Sequence[F32], request: Request) -> list[QueryResult]:
        """The k best documents for each query.

        Args:
            queries: (n_query_tokens, dim) each.
        """
        n_tokens = _n_tokens(snapshot.segments, request.allowed)
        if request.allowed is not None:
            n_tokens = min(_APART * n_tokens, snapshot.n_tokens)
        longest = max((len(query) for query in queries), default=0)
        model = None if self._scorer.device else usable_model(snapshot)
        if model is None or request.recall >= 1 or scan_cost(n_tokens, longest, self._scorer.codec.dim) <= 1:
            return self._scan(snapshot, queries, request)
        prefilter, notes = self._models.loaded(model)
        z = notes.calibration.z(request.recall, request.k)
        if z is None or all(part.prefilter is None for part in snapshot.segments):
            return self._scan(snapshot, queries, request)
        if len(queries) == 1:
            return [self._prefiltered(snapshot, queries[0], request, prefilter, z)]
        # Side by side, each on one thread: the results are the same, and no thread waits for another.
        alone = replace(request, n_threads=1)
        found: list[QueryResult | None] = [None] * len(queries)

        def search_one(i: int) -> None:
            found[i] = self._prefiltered(snapshot, queries[i], alone, prefilter, z)

        run([partial(search_one, i) for i in range(len(queries))], request.n_threads)
        return [one for one in found if one is not None]

    def hybrid(
        self,
        snapshot: Snapshot,
        queries: Sequence[F32],
        texts: Sequence[str],
        request: Request,
        *,
        fuse: bool,
    ) -> list[QueryResult]:
        """As `search`, with BM25's best added as candidates, or fused with BM25's order."""
        wider = replace(request, k=max(request.k, N_LEXICAL)) if fuse else request
        searched = self.search(snapshot, queries, wider)
        return [self._with_bm25(snapshot, *pair, request, fuse) for pair in zip(searched, texts)]

    def _with_bm25(
        self, snapshot: Snapshot, found: QueryResult, text: str, request: Request, fuse: bool
    ) -> QueryResult:
        profile = found.profile
        with profile.stage("bm25"):
            doc_nos, scores = snapshot.bm25(text, max(N_LEXICAL, request.k))
        if fuse:
            if request.allowed is not None:
                kept = np.isin(doc_nos, request.allowed)
                doc_nos, scores = doc_nos[kept], scores[kept]
            ranking = fused([found.ranking, Ranking(doc_nos, scores)], request.k)
            return QueryResult(found.query, ranking, profile)
        return self.with_candidates(snapshot, found, doc_nos, request)

    def with_candidates(
        self, snapshot: Snapshot, found: QueryResult, doc_nos: I64, request: Request
    ) -> QueryResult:
        """A result in which further documents compete by their MaxSim."""
        if request.allowed is not None:
            doc_nos = doc_nos[np.isin(doc_nos, request.allowed)]
        new = np.setdiff1d(doc_nos, found.ranking.doc_nos)
        profile = found.profile
        with profile.stage("score"):
            query = self._scorer.prepare(found.query)
            maxsim = self._scorer.score(snapshot, query, new, n_threads=request.n_threads, profile=profile)
        profile.n_candidates += len(new)
        ranking = Ranking.joined([found.ranking, Ranking.best(new, maxsim, request.k)], request.k)
        return QueryResult(found.query, ranking, profile)

    def _fronted_by(self, prefilter: LearnedPrefilter, parts: Sequence[LiveSegment]) -> CandidateIndex:
        if self._fronted is None or self._fronted.files != prefilter_files(parts):
            self._fronted = CandidateIndex(prefilter, parts, self._scorer)
        return self._fronted

    def _scan(self, snapshot: Snapshot, queries: Sequence[F32], request: Request) -> list[QueryResult]:
        profile = Profile()
        with profile.stage("prepare"):
            prepared = [self._scorer.prepare(query) for query in queries]
        with profile.stage("scan"):
            rankings = self._scorer.scan(
                snapshot.segments, prepared, request.k, allowed=request.allowed,
                n_threads=request.n_threads, profile=profile,
            )  # fmt: skip
        profile.n_candidates = profile.n_scored
        return [QueryResult(query, ranking, profile.copy()) for query, ranking in zip(queries, rankings)]

    def _prefiltered(
        self, snapshot: Snapshot, query: F32, request: Request, prefilter: LearnedPrefilter, z: float
    ) -> QueryResult:
        """One query by way of the prefilter, or by a scan where it cannot keep its promise."""
        profile = Profile()
        fronted = [part for part in snapshot.segments if part.prefilter is not None]
        tail = [part for part in snapshot.segments if part.prefilter is None]
        with profile.stage("prepare"):
            prepared = self._scorer.prepare(query)
        with profile.stage("tail"):
            [newest] = self._scorer.scan(
                tail, [prepared], request.k, allowed=request.allowed,
                n_threads=request.n_threads, profile=profile,
            )  # fmt: skip
        with profile.stage("prefilter"):
            documents = self._fronted_by(prefilter, fronted)
        # How many hold a query's best grows about like the root; the further a walk goes, the more it needs.
        n = max(int((1.5 + 1.5 * z) * documents.n_docs**0.5), _FIRST_PER_HIT * request.k)
        # Beyond half of all documents, a scan costs no more.
        most = documents.n_docs // 2
        while True:
            with profile.stage("prefilter"):
                rows, estimates = documents.candidates(fronted, prepared, n, request.allowed)
            with profile.stage("score"):
                followed = documents.follow(
                    prepared, rows, estimates, k=request.k, z=z, others=newest.scores,
                    n_threads=request.n_threads, profile=profile,
                )  # fmt: skip
            if followed.complete or len(rows) < n:
                break
            if n >= most:
                [scanned] = self._scan(snapshot, [query], request)
                return scanned
            n = min(n * _MORE, most)
        with profile.stage("refine"):
            rows = rows[: len(followed.scores)]
            refined = documents.refine(
                prepared, rows, followed.scores, k=request.k, n_threads=request.n_threads, profile=profile
            )
        profile.n_candidates += len(rows)
        return QueryResult(query, Ranking.joined([newest, refined], request.k), profile)


def to_hits(snapshot: Snapshot, ranking: Ranking, profile: Profile | None) -> Hits:
    """The documents of a ranking, read from the snapshot; `profile` becomes the hits' own."""
    with (profile or Profile()).stage("documents"):
        documents = snapshot.documents(ranking.doc_nos)
        hits = Hits(
            Hit(document.id, float(score), document.text, document.metadata)
            for document, score in zip(documents, ranking.scores)
        )
    hits.profile = profile
    return hits


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
