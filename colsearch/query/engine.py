"""Answers queries over one snapshot: encode, plan, rank, read the hits.

The plan is a scan of all selected documents, which is exact, as long as that is cheap. Otherwise the prefilter
names candidates, and the tail (segments that it does not cover) is scanned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter

import numpy as np

from colsearch.encoders.index_encoder import IndexEncoder
from colsearch.errors import DocumentError
from colsearch.prefilter.stored import PrefilterCache
from colsearch.query.explain import Explanation
from colsearch.query.fusion import reciprocal_rank_fusion
from colsearch.query.groups import best_of_groups
from colsearch.query.request import (
    N_RETRIEVED,
    Query,
    SearchRequest,
    checked_k,
    query_tokens,
    retrieved_ids,
    text_of,
)
from colsearch.query.view import SearchView, split_by_prefilter
from colsearch.scoring.cost import cheap_query_tokens
from colsearch.scoring.ranking import Ranking
from colsearch.scoring.scorer import Mark, Scorer, SearchContext, stage_ms
from colsearch.scoring.selection import SelectedSegment, joined_mask, select
from colsearch.store.reader import SnapshotReader
from colsearch.store.snapshot import Snapshot
from colsearch.types import F32, I64, DocId, Hit, Hits, Profile
from colsearch_kernels.runtime.pool import run

# Scanning a document whose neighbours are left out costs about twice as much per token: memory is read in jumps.
_SCATTERED_COST = 2


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One query, its ranking, and what that took.

    Attributes:
        profile: counters, without times.
        marks: of the stages, from which the times follow.
    """

    query: F32
    ranking: Ranking
    profile: Profile = field(default_factory=Profile)
    marks: list[Mark] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of `search`: its queries in the form in which they are ranked.

    Attributes:
        allowed: sorted doc_nos that pass the filter; None for all.
        queries: (n_query_tokens, dim) float32 each.
        texts: the queries' texts in hybrid search.
        retrieved: doc_nos that the caller's retriever put forward for each query.
        marks: of the stages that all queries passed together.
    """

    snapshot: Snapshot
    allowed: I64 | None
    request: SearchRequest
    queries: list[F32]
    texts: list[str] | None
    retrieved: list[I64] | None
    marks: list[Mark]

    def only(self, i: int) -> _Call:
        """The same for query i alone."""
        rows = slice(i, i + 1)
        return replace(
            self,
            queries=self.queries[rows],
            texts=None if self.texts is None else self.texts[rows],
            retrieved=None if self.retrieved is None else self.retrieved[rows],
        )


class QueryEngine:
    """Searches one index.

    Args:
        n_threads: threads for scoring.
    """

    def __init__(
        self,
        reader: SnapshotReader,
        encoder: IndexEncoder,
        scorer: Scorer,
        prefilters: PrefilterCache,
        *,
        n_threads: int,
    ) -> None:
        self.reader = reader
        self.encoder = encoder
        self.scorer = scorer
        self.n_threads = n_threads
        self._prefilters = prefilters
        self._view: SearchView | None = None

    def search(
        self, queries: Sequence[Query], request: SearchRequest, *, profile: bool = False
    ) -> list[Hits]:
        """The hits of each query, all from one snapshot."""
        call = self._prepared(queries, request)
        if request.group_by is None:
            return self._hits(call, profile, request.k)
        return [
            best_of_groups(partial(self._hits_of_one, call.only(i), profile), request.k, request.group_by)
            for i in range(len(queries))
        ]

    def rank(
        self, snapshot: Snapshot, queries: Sequence[F32], k: int, *, recall: float, allowed: I64 | None = None
    ) -> list[QueryResult]:
        """The k best documents of each query by MaxSim.

        Args:
            queries: (n_query_tokens, dim) each.
            recall: the share of the exact k best to find; 1 scores every document.
            allowed: sorted doc_nos that pass the filter; None for all.
        """
        view = self.view_of(snapshot)
        selected = view.selected if allowed is None else select(snapshot.segments, allowed)
        k = _at_most_all(k, snapshot)
        stop_deviations = self._stop_deviations(
            view, selected, queries, k, recall, filtered=allowed is not None
        )
        if stop_deviations is None:
            return self._scan(selected, queries, k, self.n_threads)
        covered, tail = (view.covered, view.tail) if allowed is None else split_by_prefilter(selected)
        can_be_hits = view.can_be_hits if allowed is None else joined_mask(covered)
        candidates = view.candidates or view.make_candidates(self.scorer)

        def search_one(query: F32, n_threads: int) -> QueryResult:
            context = SearchContext(n_threads, marks=[("", perf_counter())])
            prepared = self.scorer.codec.prepare_query(query)
            context.marks.append(("prepare", perf_counter()))
            newest = self.scorer.scan(tail, [prepared], k, context)[0] if tail else None
            context.marks.append(("tail", perf_counter()))
            found = candidates.search(prepared, k, stop_deviations, can_be_hits, newest, context)
            if found is None:
                [scanned] = self._scan(selected, [query], k, n_threads)
                return scanned
            return QueryResult(query, found, context.profile, context.marks)

        if len(queries) == 1:
            return [search_one(queries[0], self.n_threads)]
        # Several queries run side by side on one thread each: the results are the same, and no thread waits.
        results: list[QueryResult | None] = [None] * len(queries)

        def search_number(i: int) -> None:
            results[i] = search_one(queries[i], 1)

        run([partial(search_number, i) for i in range(len(queries))], self.n_threads)
        return [result for result in results if result is not None]

    def rerank(self, query: Query, ids: Sequence[DocId], k: int | None) -> Hits:
        """These documents by MaxSim, best first; a document without tokens is left out."""
        snapshot, doc_nos = self.reader.located(ids)
        doc_nos = np.unique(doc_nos)
        k = checked_k(k or len(doc_nos) or 1)
        [tokens] = query_tokens([query], self.encoder, self.scorer.codec.dim)
        prepared = self.scorer.codec.prepare_query(tokens.vectors)
        scores = self.scorer.score(snapshot, prepared, doc_nos, SearchContext(self.n_threads))
        return to_hits(snapshot, Ranking.best(doc_nos, scores, k))

    def explain(self, query: Query, id: DocId) -> Explanation:
        """Which token of the document answered each query token."""
        snapshot, doc_nos = self.reader.located([id])
        doc_no = int(doc_nos[0])
        [tokens] = query_tokens([query], self.encoder, self.scorer.codec.dim)
        aligned = self.scorer.align(snapshot, self.scorer.codec.prepare_query(tokens.vectors), doc_no)
        if aligned is None:
            raise DocumentError(f"document {id!r} has no tokens, so there is nothing to explain")
        best_tokens, similarities = aligned
        return Explanation.build(
            query=query if isinstance(query, str) else None,
            query_spans=tokens.spans,
            document=snapshot.documents(doc_nos)[0],
            document_spans=snapshot.spans(doc_no),
            best_tokens=best_tokens,
            similarities=similarities,
        )

    def _prepared(self, queries: Sequence[Query], request: SearchRequest) -> _Call:
        marks = [("", perf_counter())]
        dim = self.scorer.codec.dim
        vectors = [tokens.vectors for tokens in query_tokens(queries, self.encoder, dim)]
        marks.append(("encode", perf_counter()))
        texts = [text_of(query) for query in queries] if request.hybrid else None
        ids = None
        if request.candidates is not None:
            ids = [retrieved_ids(request.candidates, query, request.k) for query in queries]
            marks.append(("retrieve", perf_counter()))
        snapshot, allowed = self.reader.filtered(request.where)
        retrieved = None if ids is None else [snapshot.find(some, missing_ok=True) for some in ids]
        return _Call(snapshot, allowed, request, vectors, texts, retrieved, marks)

    def _hits_of_one(self, call: _Call, profile: bool, k: int) -> Hits:
        [hits] = self._hits(call, profile, k)
        return hits

    def _hits(self, call: _Call, profile: bool, k: int) -> list[Hits]:
        hits = []
        for result in self._results(call, k):
            start = perf_counter()
            found = to_hits(call.snapshot, result.ranking)
            if profile:
                reading = [("", start), ("documents", perf_counter())]
                for marks in (call.marks, result.marks, reading):
                    result.profile.stage_ms |= stage_ms(marks)
                found.profile = result.profile
            hits.append(found)
        return hits

    def _results(self, call: _Call, k: int) -> list[QueryResult]:
        k = _at_most_all(k, call.snapshot)
        fuse = call.request.hybrid == "rrf"
        n = max(k, N_RETRIEVED) if fuse else k
        results = self.rank(call.snapshot, call.queries, n, recall=call.request.recall, allowed=call.allowed)
        if call.texts is not None:
            results = [
                self._with_bm25(call, result, text, k, fuse=fuse) for result, text in zip(results, call.texts)
            ]
        if call.retrieved is not None:
            results = [
                self._with_documents(call, result, doc_nos, k)
                for result, doc_nos in zip(results, call.retrieved)
            ]
        return results

    def _with_bm25(self, call: _Call, result: QueryResult, text: str, k: int, *, fuse: bool) -> QueryResult:
        """A result in which BM25's best compete by their MaxSim, or in which both orders are fused."""
        result.marks.append(("", perf_counter()))
        doc_nos, scores = call.snapshot.bm25(text, max(N_RETRIEVED, k))
        result.marks.append(("bm25", perf_counter()))
        if not fuse:
            return self._with_documents(call, result, doc_nos, k)
        if call.allowed is not None:
            passes = np.isin(doc_nos, call.allowed)
            doc_nos, scores = doc_nos[passes], scores[passes]
        ranking = reciprocal_rank_fusion([result.ranking, Ranking(doc_nos, scores)], k)
        return replace(result, ranking=ranking)

    def _with_documents(self, call: _Call, result: QueryResult, doc_nos: I64, k: int) -> QueryResult:
        """A result in which further documents compete by their MaxSim."""
        if call.allowed is not None:
            doc_nos = doc_nos[np.isin(doc_nos, call.allowed)]
        new = np.setdiff1d(doc_nos, result.ranking.doc_nos)
        result.marks.append(("", perf_counter()))
        prepared = self.scorer.codec.prepare_query(result.query)
        maxsim = self.scorer.score(
            call.snapshot, prepared, new, SearchContext(self.n_threads, result.profile)
        )
        result.marks.append(("score", perf_counter()))
        result.profile.n_candidates += len(new)
        ranking = Ranking.joined([result.ranking, Ranking.best(new, maxsim, k)], k)
        return replace(result, ranking=ranking)

    def view_of(self, snapshot: Snapshot) -> SearchView:
        view = self._view
        if view is None or view.snapshot is not snapshot:
            view = self._view = SearchView(snapshot, self.scorer.codec.dim, self._prefilters, view)
        return view

    def _stop_deviations(
        self,
        view: SearchView,
        selected: Sequence[SelectedSegment],
        queries: Sequence[F32],
        k: int,
        recall: float,
        *,
        filtered: bool,
    ) -> float | None:
        """Where the stop rule must end a query to keep its recall; None if a scan is the plan."""
        if recall >= 1 or view.prefilter is None or self.scorer.device is not None:
            return None
        cheap = view.cheap_query_tokens
        if filtered:
            n_tokens = sum(part.n_tokens for part in selected)
            n_tokens = min(_SCATTERED_COST * n_tokens, view.snapshot.n_tokens)
            cheap = cheap_query_tokens(n_tokens, self.scorer.codec.dim)
        if max(map(len, queries), default=0) <= cheap:
            return None
        return view.stop_deviations(recall, k)

    def _scan(
        self, selected: Sequence[SelectedSegment], queries: Sequence[F32], k: int, n_threads: int
    ) -> list[QueryResult]:
        context = SearchContext(n_threads, marks=[("", perf_counter())])
        prepared = [self.scorer.codec.prepare_query(query) for query in queries]
        context.marks.append(("prepare", perf_counter()))
        rankings = self.scorer.scan(selected, prepared, k, context)
        context.marks.append(("scan", perf_counter()))
        profile = context.profile
        profile.n_candidates = profile.n_scored
        return [
            QueryResult(query, ranking, profile.copy(), context.marks.copy())
            for query, ranking in zip(queries, rankings)
        ]


def _at_most_all(k: int, snapshot: Snapshot) -> int:
    """k, or the number of documents if that is less: no array is made for hits that there cannot be."""
    return min(k, max(snapshot.n_docs, 1))


def to_hits(snapshot: Snapshot, ranking: Ranking) -> Hits:
    """The documents of a ranking, read from the snapshot."""
    return Hits(
        Hit(document.id, score, document.text, document.metadata)
        for document, score in zip(snapshot.documents(ranking.doc_nos), ranking.scores.tolist())
    )
