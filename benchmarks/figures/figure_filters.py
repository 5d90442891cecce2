"""Filters: latency and recall when 50 % to 0.1 % of the documents pass."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.corpora.vectors import workload
from benchmarks.exact import exact_scores
from benchmarks.figure import Figure, Measured, Options
from benchmarks.ours import build_index, hit_ids
from benchmarks.protocol import Timed, interleave, mean_interval, recall_with_ties, timed
from benchmarks.render import markdown_table
from benchmarks.workload import Workload

SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
N_QUERIES = 200
BUCKETS = 1_000


def run(options: Options) -> Measured:
    work = workload("debian", options)
    n_queries = 4 if options.smoke else min(N_QUERIES, len(work.queries))
    buckets = np.random.default_rng(options.seed).integers(0, BUCKETS, work.n_docs)
    exact = exact_scores(Workload(work.folder, work.docs, work.doclens, work.queries[:n_queries], work.about))
    folder = options.home / "indexes" / work.folder.name / "filters"
    metadata = [{"bucket": int(bucket)} for bucket in buckets]
    recalls: dict[str, list[float]] = {}

    with build_index(folder, work, n_threads=options.threads, metadata=metadata) as index:

        def contestant(share: float) -> Any:
            where = None if share == 1.0 else {"bucket": {"$lt": int(share * BUCKETS)}}

            def call(query: int) -> Timed[list[int]]:
                return timed(lambda: hit_ids(index.search(work.queries[query], k=10, where=where)))

            return call

        def check(label: str, query: int, ids: list[int]) -> None:
            passing = buckets < float(label) * BUCKETS
            assert passing[ids].all(), f"a hit of query {query} does not pass the filter"
            best = np.sort(exact[query, passing])[::-1][:10]
            found = exact[query, ids].tolist()
            recalls.setdefault(label, []).append(recall_with_ties(found, best.tolist(), tolerance=1e-4))

        contestants = {str(share): contestant(share) for share in SHARES}
        times = interleave(contestants, n_queries, seed=options.seed, check=check)
    rows = []
    for label in contestants:
        interval = mean_interval(recalls[label]).rounded()
        rows.append(
            {
                "share": label,
                "n_passing": int((buckets < float(label) * BUCKETS).sum()),
                "recall@10": interval[0],
                "recall@10_interval": interval[1:],
                **times[label].summary(),
            }
        )
    return Measured(rows, {"workload": "debian", "n_docs": work.n_docs, "n_queries": n_queries, "k": 10})


def table(result: Mapping[str, Any]) -> str:
    columns = {
        "share": "share that passes",
        "n_passing": "documents",
        "recall@10": "recall@10 among them",
        "cpu_median_ms": "CPU ms",
        "wall_median_ms": "wall ms",
        "wall_p95_ms": "p95 ms",
    }
    return markdown_table(result["rows"], columns)


FIGURE = Figure(
    "filters",
    claim="a filter never costs recall, and a selective one makes the search faster",
    minutes=5,
    run=run,
    table=table,
)
