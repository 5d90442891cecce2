"""One index on a GPU, which scores every document, and on the CPU with and without its prefilter."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.corpora.vectors import workload
from benchmarks.figure import Figure, Measured, Options
from benchmarks.ours import build_index
from benchmarks.protocol import Timed, interleave, mean_interval, recall_with_ties, timed
from benchmarks.render import markdown_table
from benchmarks.result import Row

N_QUERIES, N_BATCH, K = 200, 100, 10


def run(options: Options) -> Measured:
    import torch

    from colsearch import ColIndex

    if not torch.cuda.is_available() and not options.smoke:
        return Measured([], {}, skipped=[{"engine": "CUDA", "why": "torch finds no GPU"}])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    work = workload("debian", options)
    n_queries = min(N_QUERIES, len(work.queries))
    queries = [np.asarray(work.queries[i], np.float32) for i in range(n_queries)]
    folder = options.home / "indexes" / work.folder.name / "gpu-index"
    build_index(folder, work, n_threads=options.threads).close()
    rows: list[Row] = []
    with (
        ColIndex.open(folder, n_threads=options.threads) as on_cpu,
        ColIndex.open(folder, device=device) as on_gpu,
    ):
        copied = timed(lambda: on_gpu.search(queries[0], K))

        def batch_from(first: int) -> list[Any]:
            return [queries[(first + i) % n_queries] for i in range(min(N_BATCH, n_queries))]

        calls: dict[str, Callable[[int], Any]] = {
            "CPU, exact": lambda i: [on_cpu.search(queries[i], K, exact=True)],
            "CPU, default": lambda i: [on_cpu.search(queries[i], K)],
            "GPU": lambda i: [on_gpu.search(queries[i], K)],
            f"GPU, {N_BATCH} queries in a call": lambda i: on_gpu.search(batch_from(i), K)[:1],
        }
        exact: dict[int, list[float]] = {}
        recalls: dict[str, list[float]] = {name: [] for name in calls}

        def check(name: str, query: int, hits: Any) -> None:
            if query not in exact:
                exact[query] = [hit.score for hit in on_cpu.search(queries[query], K, exact=True)]
            scores = [hit.score for hit in hits[0]]
            recalls[name].append(recall_with_ties(scores, exact[query]))
            # The device scores every document in the same integer arithmetic, so the scores must be equal.
            assert not name.startswith("GPU") or scores == exact[query]

        times = interleave(
            {name: partial(_timed, call) for name, call in calls.items()},
            n_queries, seed=options.seed, check=check, limits={f"GPU, {N_BATCH} queries in a call": 20},
        )  # fmt: skip
    for name, spent in times.items():
        at_once = N_BATCH if "in a call" in name else 1
        rows.append(
            {
                "engine": name,
                "recall@10": mean_interval(recalls[name]).rounded()[0],
                **spent.summary(),
                "per_query_ms": float(f"{float(np.median(spent.wall_ms)) / at_once:.4g}"),
            }
        )
    config = {
        "workload": "debian",
        "n_docs": work.n_docs,
        "n_tokens": int(work.offsets[-1]),
        "dim": work.dim,
        "k": K,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else "none",
        "first_search_wall_ms": round(copied.wall_ms, 1),
    }
    return Measured(rows, config)


def _timed(call: Callable[[int], Any], query: int) -> Timed[Any]:
    return timed(partial(call, query))


COLUMNS = {
    "engine": "search",
    "recall@10": "recall@10 of exact",
    "per_query_ms": "wall ms per query",
    "wall_p95_ms": "p95 of a call, ms",
    "cpu_median_ms": "CPU ms of a call",
}


def table(result: Mapping[str, Any]) -> str:
    return markdown_table(result["rows"], COLUMNS)


FIGURE = Figure(
    "gpu-index",
    claim="an index on a GPU scores every document in less time than a CPU needs for its candidates",
    minutes=3,
    run=run,
    table=table,
)
