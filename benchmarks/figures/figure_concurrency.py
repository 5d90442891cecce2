"""Throughput with 1 to 8 callers in one process, with and without a writer beside them."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.corpora.vectors import workload
from benchmarks.figure import Figure, Measured, Options
from benchmarks.ours import build_index, hit_ids
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload

if TYPE_CHECKING:
    from colsearch import ColIndex

CALLERS = (1, 2, 4, 8)
SECONDS = 5.0


def run(options: Options) -> Measured:
    work = workload("debian", options)
    folder = options.home / "indexes" / work.folder.name / "concurrency"
    seconds = 0.3 if options.smoke else SECONDS
    with build_index(folder, work, n_threads=1) as index:
        alone = [hit_ids(index.search(query, k=10)) for query in work.queries[:200]]
        exact = [hit_ids(hits) for hits in index.search(work.queries[:200], k=10, exact=True)]
        rows: list[Row] = [
            _readers(index, work, alone, exact, n, seconds)
            for n in (CALLERS[:2] if options.smoke else CALLERS)
        ]
        rows.append(_readers_and_writer(index, work, alone, exact, seconds))
    rows.append(_batch(folder, work, alone))
    return Measured(rows, {"workload": "debian", "n_docs": work.n_docs, "seconds": seconds, "n_threads": 1})


def _readers(
    index: "ColIndex",
    work: Workload,
    alone: list[list[int]],
    exact: list[list[int]],
    n_callers: int,
    seconds: float,
) -> dict[str, Any]:
    """Each caller asks its own queries for the time given; every answer must be the one given alone.

    Or the exact one: after a merge everything is scored until the prefilter covers the new segment too.
    """
    stop = time.perf_counter() + seconds
    latencies: list[list[float]] = [[] for _ in range(n_callers)]
    wrong: list[int] = []

    def ask(caller: int) -> None:
        query = caller
        while time.perf_counter() < stop:
            query = (query + n_callers) % len(alone)
            started = time.perf_counter()
            found = hit_ids(index.search(work.queries[query], k=10))
            latencies[caller].append((time.perf_counter() - started) * 1e3)
            if found not in (alone[query], exact[query]):
                wrong.append(query)

    cpu, wall = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(n_callers) as callers:
        list(callers.map(ask, range(n_callers)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    each = sorted(latency for own in latencies for latency in own)
    return {
        "case": "readers",
        "n_callers": n_callers,
        "identical": not wrong,
        "queries_per_s": len(each) / wall,
        "wall_median_ms": each[len(each) // 2],
        "wall_p95_ms": each[int(len(each) * 0.95)],
        "cpu_mean_ms": cpu * 1e3 / len(each),
    }


def _readers_and_writer(
    index: "ColIndex", work: Workload, alone: list[list[int]], exact: list[list[int]], seconds: float
) -> Row:
    """Adds are of documents that no query finds among its best, so that answers must not change."""
    stop = threading.Event()
    n_commits = 0

    def write() -> None:
        nonlocal n_commits
        unlike = -work.queries[0][:1].repeat(4, axis=0)
        while not stop.is_set():
            index.add_vectors([unlike] * 10, ids=[f"new-{n_commits}-{i}" for i in range(10)])
            n_commits += 1

    with ThreadPoolExecutor(1) as writers:
        writer = writers.submit(write)
        row = _readers(index, work, alone, exact, 1, seconds)
        stop.set()
        writer.result()
    return {**row, "case": "1 reader, 1 writer", "commits_per_s": n_commits / seconds}


def _batch(folder: Path, work: Workload, alone: list[list[int]]) -> Row:
    """One call with many queries on two threads, the form that a user who has them all should take."""
    from colsearch import ColIndex

    queries: list[Any] = work.queries[: len(alone)]
    with ColIndex.open(folder, read_only=True, n_threads=2) as index:
        index.search(queries[:2], k=10)
        cpu, wall = time.process_time(), time.perf_counter()
        found = index.search(queries, k=10)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # What the writer added scores too low to be found, so answers are the same as before it.
    return {
        "case": "one call, two threads",
        "n_callers": 1,
        "identical": [hit_ids(hits) for hits in found] == alone,
        "queries_per_s": len(queries) / wall,
        "cpu_mean_ms": cpu * 1e3 / len(queries),
    }


def table(result: Mapping[str, Any]) -> str:
    columns = {
        "case": "case",
        "n_callers": "callers",
        "queries_per_s": "queries/s",
        "wall_median_ms": "median ms",
        "wall_p95_ms": "p95 ms",
        "cpu_mean_ms": "CPU ms/query",
        "commits_per_s": "commits/s",
        "identical": "same answers as alone, or exact ones",
    }
    return markdown_table(result["rows"], columns)


FIGURE = Figure(
    "concurrency",
    claim="two callers get at least 1.5 times the throughput of one, and a writer changes no answer",
    minutes=2,
    run=run,
    table=table,
)
