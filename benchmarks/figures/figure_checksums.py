"""The cost of verifying every block: when an index is opened, and in queries."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.corpora.vectors import workload
from benchmarks.figure import Figure, Measured, Options
from benchmarks.ours import build_index, hit_ids
from benchmarks.protocol import Timed, interleave, mean_interval, ratio_of_pairs, timed
from benchmarks.render import markdown_table
from benchmarks.result import Row

N_QUERIES, N_OPENS = 300, 15
WAYS = ("off", "auto", "full")


def run(options: Options) -> Measured:
    from colsearch import ColIndex

    work = workload("debian", options)
    n_queries, n_opens = (4, 2) if options.smoke else (min(N_QUERIES, len(work.queries)), N_OPENS)
    folder = options.home / "indexes" / work.folder.name / "checksums"
    build_index(folder, work, n_threads=options.threads).close()
    gigabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9

    def opening(way: str) -> Any:
        return lambda call: timed(
            lambda: ColIndex.open(folder, verify=way, n_threads=options.threads).close()
        )

    opens = interleave({way: opening(way) for way in WAYS}, n_opens, seed=options.seed, check=lambda *_: None)
    indexes = {way: ColIndex.open(folder, verify=way, n_threads=options.threads) for way in WAYS}
    answers: dict[int, list[int]] = {}

    def searching(way: str) -> Any:
        def call(query: int) -> Timed[list[int]]:
            return timed(lambda: hit_ids(indexes[way].search(work.queries[query], k=10)))

        return call

    def check(way: str, query: int, ids: list[int]) -> None:
        assert answers.setdefault(query, ids) == ids, f"query {query}: {way} finds other documents"

    # In the first pass, "auto" verifies each block when it is first read; in the second it verifies none.
    calls = {way: searching(way) for way in WAYS}
    first, again = (interleave(calls, n_queries, seed=options.seed, check=check) for _ in range(2))
    rows: list[Row] = []
    for way in WAYS:
        extra = opens[way].cpu_ms - opens["off"].cpu_ms
        rows.append(
            {
                "verify": way,
                "recall@10": mean_interval(np.ones(n_queries)).estimate,
                "open_cpu_median_ms": round(float(np.median(opens[way].cpu_ms)), 2),
                "open_extra_cpu_s_per_gb": round(float(np.median(extra)) / 1e3 / gigabytes, 4),
                **again[way].summary(),
                "first_ratio_to_off": ratio_of_pairs(first[way].cpu_ms, first["off"].cpu_ms).rounded(),
                "ratio_to_off": ratio_of_pairs(again[way].cpu_ms, again["off"].cpu_ms).rounded(),
            }
        )
        indexes[way].close()
    return Measured(
        rows,
        {"workload": "debian", "gigabytes": round(gigabytes, 3), "n_queries": n_queries, "n_opens": n_opens},
        notes=["recall@10 is the share of answers that agree with each other: verifying changes none."],
    )


COLUMNS = {
    "verify": "verify=",
    "open_cpu_median_ms": "open, CPU ms",
    "open_extra_cpu_s_per_gb": "open, CPU s per GB for verifying",
    "cpu_median_ms": "query, CPU ms",
    "first_ratio_to_off": "first time: CPU / CPU with verify=off (95 % interval)",
    "ratio_to_off": "again: CPU / CPU with verify=off",
}


def table(result: Mapping[str, Any]) -> str:
    return markdown_table(result["rows"], COLUMNS)


FIGURE = Figure(
    "checksums",
    claim="verifying costs at most 3 % of query time, and 0.1 s of CPU per GB at open",
    minutes=3,
    run=run,
    table=table,
)
