"""The reference that every engine is compared with: exact float32 MaxSim by brute force."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import recall_with_ties
from benchmarks.workload import Workload, read_workload

N_BEST = 1_000
BLOCK_TOKENS = 1_024


class WrongAnswerError(AssertionError):
    """An engine gave an answer that is wrong even for an approximate search."""


class Reference:
    """The exact best documents of every query, with checks and recall of an answer."""

    def __init__(self, folder: Path, *, n_queries: int | None = None) -> None:
        path = folder / "exact.npz"
        if n_queries is not None and not path.exists():
            # A figure may use a few of thousands of queries, and each query costs a scan in float32.
            path = folder / f"exact-{n_queries}.npz"
        if not path.exists():
            whole = read_workload(folder)
            workload = replace(whole, queries=whole.queries[:n_queries])
            ids, scores = exact_best(workload, n_best=min(N_BEST, workload.n_docs))
            np.savez(path, ids=ids, scores=scores)
        with np.load(path) as stored:
            self.ids: NDArray[np.int64] = stored["ids"][:n_queries]
            self.scores: NDArray[np.float32] = stored["scores"][:n_queries]
        self._by_id = [dict(zip(ids.tolist(), s.tolist())) for ids, s in zip(self.ids, self.scores)]

    def recall(self, query: int, ids: list[int], k: int) -> float:
        """Recall@k against exact search; scores that differ by float16 rounding count as tied."""
        scores_by_id, worst = self._by_id[query], float("-inf")
        found_scores = [scores_by_id.get(document, worst) for document in ids[:k]]
        return recall_with_ties(found_scores, self.scores[query, :k].tolist(), tolerance=1e-4)

    def check(self, query: int, ids: list[int], scores: list[float], *, n_docs: int, exact: bool) -> None:
        """Check one answer.

        Raises: WrongAnswerError: for ids that repeat or do not exist, and for scores that are not finite or
            out of order. For an exact engine, also for a score that is not the reference's.
        """
        if len(set(ids)) != len(ids) or any(not 0 <= document < n_docs for document in ids):
            raise WrongAnswerError(f"query {query}: ids repeat or do not exist: {ids[:10]}")
        values = np.asarray(scores)
        if not np.isfinite(values).all() or (np.diff(values) > 1e-3).any():
            raise WrongAnswerError(f"query {query}: scores are not finite or not best first: {scores[:10]}")
        if exact:
            gap = float(np.abs(values - self.scores[query, : len(values)]).max(initial=0.0))
            if gap > 2e-3:
                raise WrongAnswerError(f"query {query}: an exact engine is off by {gap:.4f}")


def exact_best(workload: Workload, *, n_best: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(n_queries, n_best) ids and scores, best first, lower id first among equals."""
    scores = exact_scores(workload)
    rough = np.argpartition(-scores, n_best - 1, axis=1)[:, :n_best]
    rough_scores = np.take_along_axis(scores, rough, 1)
    order = np.lexsort((rough, -rough_scores), axis=1)
    return np.take_along_axis(rough, order, 1), np.take_along_axis(rough_scores, order, 1)


def exact_scores(workload: Workload) -> NDArray[np.float32]:
    """(n_queries, n_docs) float32, in blocks of whole documents and queries that fit into the cache."""
    offsets = workload.offsets
    scores = np.empty((len(workload.queries), workload.n_docs), np.float32)
    groups = list(_query_groups(workload.queries))
    first = 0
    while first < workload.n_docs:
        last = int(np.searchsorted(offsets, offsets[first] + BLOCK_TOKENS, "right")) - 1
        last = min(max(first + 1, last), workload.n_docs)
        block = np.asarray(workload.docs[offsets[first] : offsets[last]], np.float32)
        for queries, columns, starts in groups:
            similarities = block @ columns
            # A loop of `max` is twice as fast as `maximum.reduceat` on this many columns.
            bounds = pairwise(offsets[first : last + 1] - offsets[first])
            best = np.stack([similarities[a:b].max(0) for a, b in bounds])
            scores[queries, first:last] = np.add.reduceat(best, starts, axis=1).T
        first = last
    return scores


def _query_groups(
    queries: list[NDArray[np.float32]],
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.int64]]]:
    """Yield groups: the queries' slice, their tokens as columns (dim, n), and each query's first column."""
    first = 0
    while first < len(queries):
        last, n_tokens = first, 0
        while last < len(queries) and (last == first or n_tokens + len(queries[last]) <= BLOCK_TOKENS):
            n_tokens += len(queries[last])
            last += 1
        group = queries[first:last]
        starts = np.cumsum([0, *(len(query) for query in group[:-1])])
        yield slice(first, last), np.ascontiguousarray(np.concatenate(group).T), starts
        first = last
