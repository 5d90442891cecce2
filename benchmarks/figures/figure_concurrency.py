"""Throughput: with 1 to 8 callers in one process, with many queries in one call, and beside a writer."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.corpora.vectors import workload
from benchmarks.figure import Figure, Measured, Options
from benchmarks.ours import build_index, hit_ids
from benchmarks.protocol import Timed, ratio_of_pairs, timed
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload

if TYPE_CHECKING:
    from colsearch import ColIndex

CALLERS = (1, 2, 4, 8)
SECONDS = 5.0
ROUNDS = 9


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
        # Batches come before the writer, because documents that it adds are scored in addition.
        rows += _batches(folder, work, alone, 1 if options.smoke else ROUNDS)
        rows.append(_readers_and_writer(index, work, alone, exact, seconds))
    return Measured(rows, {"workload": "debian", "n_docs": work.n_docs, "seconds": seconds, "n_threads": 1})


def _readers(
    index: "ColIndex",
    work: Workload,
    alone: list[list[int]],
    exact: list[list[int]],
    n_callers: int,
    seconds: float,
) -> dict[str, Any]:
    """Let each caller ask its own queries for `seconds`.

    Every answer must equal the answer without other callers, or the exact answer: after a merge every
    document is scored until the prefilter covers the new segment too.
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
    sorted_ms = sorted(latency for own in latencies for latency in own)
    return {
        "case": "readers",
        "n_callers": n_callers,
        "identical": not wrong,
        "queries_per_s": len(sorted_ms) / wall,
        "wall_median_ms": sorted_ms[len(sorted_ms) // 2],
        "wall_p95_ms": sorted_ms[int(len(sorted_ms) * 0.95)],
        "cpu_mean_ms": cpu * 1e3 / len(sorted_ms),
    }


def _readers_and_writer(
    index: "ColIndex", work: Workload, alone: list[list[int]], exact: list[list[int]], seconds: float
) -> Row:
    """Add documents that no query has among its best while a reader asks, so its answers must not change."""
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


def _batches(folder: Path, work: Workload, alone: list[list[int]], n_rounds: int) -> list[Row]:
    """Compare one call with many queries on two threads with the same queries one by one on one thread.

    Both run on an index that was just opened, which maps and verifies documents when they are first read, and
    then again. They take turns, because the machine's speed drifts.
    """
    from colsearch import ColIndex

    queries: list[Any] = work.queries[: len(alone)]
    calls: dict[tuple[str, str], list[Timed[list[list[int]]]]] = {}
    for _ in range(n_rounds):
        for case, n_threads in (("one by one", 1), ("one call, two threads", 2)):
            with ColIndex.open(folder, read_only=True, n_threads=n_threads) as index:

                def together(index: ColIndex = index) -> list[list[int]]:
                    return [hit_ids(hits) for hits in index.search(queries, k=10)]

                def one_by_one(index: ColIndex = index) -> list[list[int]]:
                    return [hit_ids(index.search(query, k=10)) for query in queries]

                index.search(queries[:2], k=10)
                for state in ("just opened", "again"):
                    call = timed(one_by_one if n_threads == 1 else together)
                    calls.setdefault((case, state), []).append(call)
    return [_batch_row(case, state, calls, alone) for case, state in calls]


def _batch_row(
    case: str,
    state: str,
    calls: Mapping[tuple[str, str], list[Timed[list[list[int]]]]],
    alone: list[list[int]],
) -> Row:
    own, base = calls[case, state], calls["one by one", state]
    wall_ms = [call.wall_ms for call in own]
    row = {
        "case": f"{case}, {state}",
        "n_callers": 1,
        "identical": all(call.answer == alone for call in own),
        "queries_per_s": len(alone) * 1e3 / float(np.median(wall_ms)),
        "cpu_mean_ms": float(np.mean([call.cpu_ms for call in own])) / len(alone),
    }
    if own is not base:
        row["times_one_by_one"] = ratio_of_pairs([call.wall_ms for call in base], wall_ms).rounded()
    return row


def table(result: Mapping[str, Any]) -> str:
    columns = {
        "case": "case",
        "n_callers": "callers",
        "queries_per_s": "queries/s",
        "times_one_by_one": "throughput / one by one",
        "wall_median_ms": "median ms",
        "wall_p95_ms": "p95 ms",
        "cpu_mean_ms": "CPU ms/query",
        "commits_per_s": "commits/s",
        "identical": "answers equal those alone, or exact ones",
    }
    return markdown_table(result["rows"], columns)


FIGURE = Figure(
    "concurrency",
    claim="two callers, or one call with many queries on two threads, get at least 1.5 times the throughput "
    "of one, and a writer changes no answer",
    minutes=2,
    run=run,
    table=table,
)
