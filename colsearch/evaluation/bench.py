"""`colsearch bench`: times, recall and size of a user's index, and advice on what to change."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from colsearch.config import DEFAULT_RECALL
from colsearch.errors import ConfigError
from colsearch.query.audit import bootstrap_interval
from colsearch.scoring.recall import recall_of_scores

if TYPE_CHECKING:
    from colsearch.index import ColIndex
    from colsearch.query.request import Query
    from colsearch.types import F32, Hits

N_WARMUPS = 3


@dataclass(frozen=True, slots=True)
class IndexBench:
    """The figures of one run. Queries are searched one after the other; times are milliseconds per query.

    Attributes:
        wall_ms, cpu_ms: "p50", "p95", "p99" and "mean" over queries, encoding included.
        exact_ms: median wall time of the same queries with `exact=True`.
        recall: mean recall@k against `exact=True`, and both ends of its 95 % bootstrap interval.
        stage_ms: mean wall time per stage.
        n_candidates: mean number of documents scored per query.
        bytes_per_token: "memory", "disk" and "all", as in `ColIndex.info`.
        advice: sentences that say what to change, most rewarding first; empty if nothing should.
    """

    n_docs: int
    n_queries: int
    k: int
    n_threads: int
    wall_ms: Mapping[str, float]
    cpu_ms: Mapping[str, float]
    exact_ms: float
    recall: tuple[float, float, float]
    stage_ms: Mapping[str, float]
    n_candidates: float
    bytes_per_token: Mapping[str, float]
    advice: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        low, high = self.recall[1:]
        wall, cpu = (
            "  ".join(f"{name} {value:.2f}" for name, value in times.items())
            for times in (self.wall_ms, self.cpu_ms)
        )
        stages = "  ".join(f"{name} {value:.2f}" for name, value in self.stage_ms.items())
        sizes = "  ".join(f"{name} {value:.1f}" for name, value in self.bytes_per_token.items())
        lines = [
            f"{self.n_docs:,} documents, {self.n_queries:,} queries, k={self.k}, {self.n_threads} thread(s)",
            f"wall ms a query   {wall}",
            f"CPU ms a query    {cpu}",
            f"exact=True        p50 {self.exact_ms:.2f} ms",
            f"stages, mean ms   {stages}",
            f"recall@{self.k:<10} {self.recall[0]:.4f} ({low:.4f}-{high:.4f}) of exact search",
            f"scored            {self.n_candidates:,.0f} documents a query",
            f"bytes per token   {sizes}",
        ]
        return "\n".join([*lines, *(f"- {sentence}" for sentence in self.advice or ["nothing to change"])])


def bench_index(
    index: ColIndex,
    queries: Sequence[Query],
    *,
    k: int = 10,
    recall: float = DEFAULT_RECALL,
) -> IndexBench:
    """Search each query first as usual and then exactly, time both, and compare their hits.

    Args:
        queries: texts or token vectors; a hundred or more give a useful interval.
        recall: share of the exact hits to search for, as for `ColIndex.search`.
    Raises: ConfigError: if there are no queries, or nothing to search.
    """
    if not queries:
        raise ConfigError("bench needs at least one query; give --queries FILE, one query a line")
    if not len(index):
        raise ConfigError(f"{index.path} is empty, so there is nothing to measure")
    for query in queries[:N_WARMUPS]:
        index.search(query, k=k, recall=recall)
        index.search(query, k=k, exact=True)
    samples = [_sample(index, query, k, recall) for query in queries]
    stages = sorted({stage for sample in samples for stage in sample.stage_ms})
    stage_ms = {
        stage: float(np.mean([sample.stage_ms.get(stage, 0.0) for sample in samples])) for stage in stages
    }
    wall_ms = _percentiles([sample.wall_ms for sample in samples])
    cpu_ms = _percentiles([sample.cpu_ms for sample in samples])
    recalls = np.array([sample.recall for sample in samples])
    recall_interval = float(recalls.mean()), *bootstrap_interval(recalls)
    info = index.info()
    return IndexBench(
        n_docs=len(index),
        n_threads=index.n_threads,
        n_queries=len(queries),
        k=k,
        wall_ms=wall_ms,
        cpu_ms=cpu_ms,
        exact_ms=float(np.median([sample.exact_ms for sample in samples])),
        recall=recall_interval,
        stage_ms=stage_ms,
        n_candidates=float(np.mean([sample.n_candidates for sample in samples])),
        bytes_per_token=dict(info["bytes_per_token"]),
        advice=advice(
            wall_ms=wall_ms,
            cpu_ms=cpu_ms,
            stage_ms=stage_ms,
            recall=recall_interval,
            promised=recall,
            info=info,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Sample:
    wall_ms: float
    cpu_ms: float
    exact_ms: float
    recall: float
    n_candidates: int
    stage_ms: Mapping[str, float]


def _sample(index: ColIndex, query: Query, k: int, recall: float) -> _Sample:
    cpu_start, start = time.process_time(), time.perf_counter()
    hits = index.search(query, k=k, profile=True, recall=recall)
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    start = time.perf_counter()
    exact = index.search(query, k=k, exact=True)
    exact_s = time.perf_counter() - start
    profile = hits.profile
    return _Sample(
        wall_s * 1e3,
        cpu_s * 1e3,
        exact_s * 1e3,
        recall_of_scores(_scores(hits), _scores(exact)),
        profile.n_candidates if profile else 0,
        dict(profile.stage_ms) if profile else {},
    )


def _scores(hits: Hits) -> F32:
    return np.array([hit.score for hit in hits], np.float32)


def advice(
    *,
    wall_ms: Mapping[str, float],
    cpu_ms: Mapping[str, float],
    stage_ms: Mapping[str, float],
    recall: tuple[float, float, float],
    promised: float,
    info: Mapping[str, Any],
) -> list[str]:
    """Sentences that say what to change, most rewarding first.

    Args:
        recall: mean, and both ends of its interval.
        promised: the recall that was searched for.
        info: of `ColIndex.info`.
    """
    sentences = []
    if info.get("optimize_due"):
        sentences.append(f"{info['optimize_due']}: run `colsearch optimize`, then measure again")
    if recall[2] < promised:
        sentences.append(
            f"recall {recall[0]:.3f} is below the promised {promised}: run `colsearch optimize`, "
            "then measure again"
        )
    total = sum(stage_ms.values())
    if total and stage_ms.get("encode", 0.0) > 0.5 * total:
        share = stage_ms["encode"] / total
        sentences.append(
            f"encoding the query takes {share:.0%} of the time: a smaller encoder gains more than any index"
        )
    if wall_ms["p50"] > 1.5 * cpu_ms["p50"]:
        sentences.append(
            f"a query waits {wall_ms['p50'] - cpu_ms['p50']:.1f} ms without computing: the machine is busy, "
            "or the files do not fit in memory"
        )
    if wall_ms["p95"] > 5 * wall_ms["p50"]:
        sentences.append(
            "one query in twenty is five times slower than the median: look at the longest queries"
        )
    return sentences


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    marks = np.percentile(values, [50, 95, 99])
    return {
        "p50": float(marks[0]),
        "p95": float(marks[1]),
        "p99": float(marks[2]),
        "mean": float(np.mean(values)),
    }
