"""Growth: latency, candidates, memory and time to open from 1,000 to a million documents."""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import Entrant, open_engine
from benchmarks.corpora.growth import Grown
from benchmarks.corpora.vectors import workload
from benchmarks.engine_process import EngineProcess
from benchmarks.figure import Figure, Measured, Options
from benchmarks.protocol import Timed, interleave, mean_interval, recall_with_ties, timed
from benchmarks.render import markdown_table
from benchmarks.result import Row

SIZES = (1_000, 3_000, 10_000, 30_000, 50_000, 100_000, 300_000, 500_000, 1_000_000)
N_QUERIES = 100
# Queries of the exact scan; one scan of millions of documents takes seconds.
N_TIMED_EXACT = 20
K = 10
LESS_RECALL = 0.95


def run(options: Options) -> Measured:
    from colsearch import ColIndex

    work = workload("debian", options)
    sizes = (50, 300) if options.smoke else SIZES
    n_queries = min(N_QUERIES, len(work.queries))
    folder = options.home / "indexes" / work.folder.name / "growth"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    grown = Grown(work, seed=options.seed)
    ColIndex.create(folder, dim=work.dim).close()
    rows: list[Row] = []
    for before, size in pairwise((0, *sizes)):
        with ColIndex.open(folder, n_threads=options.threads) as index:
            added = timed(partial(_add, index, grown, before, size))
            on_disk = index.info()["bytes_per_token"]
            # Many queries in one call share a pass over the codes.
            found = index.search([work.queries[i] for i in range(n_queries)], K, exact=True)
            exact_scores = [[hit.score for hit in hits] for hits in found]
        # A new process, which did not build the index, so that memory and opening time are a reader's.
        with open_engine(Entrant("colsearch", "colsearch"), work, options.home, options.threads) as reader:
            measured = _measure(reader, folder, exact_scores, options.seed)
        rows.append(
            {
                "n_docs": size,
                "texts": "real" if size <= work.n_docs else "real + synthetic",
                **measured,
                "disk_bytes_per_token": float(on_disk["disk"]),
                "add_cpu_per_document_ms": added.cpu_ms / (size - before),
            }
        )
    return Measured(rows, {"workload": "debian", "n_real": work.n_docs, "n_queries": n_queries, "k": K})


def _add(index: Any, grown: Grown, first: int, last: int) -> None:
    index.add_vectors(grown.documents(first, last), ids=range(first, last))
    index.compact()
    index.optimize()


def _measure(reader: EngineProcess, folder: Path, exact_scores: Sequence[Sequence[float]], seed: int) -> Row:
    """Compare default search and a search with less recall to `exact=True` on the same index, in turns."""
    loaded = reader.ask("load", folder=str(folder), settings={})
    recalls: dict[str, list[float]] = {"default": [], "less": []}
    candidates: dict[str, list[int]] = {"default": [], "less": []}

    def exact(query: int) -> Timed[dict[str, Any]]:
        return reader.search(query, K, {"exact": True})

    def search(query: int, knobs: dict[str, Any]) -> Timed[dict[str, Any]]:
        done = reader.search(query, K, knobs)
        done.answer["candidates"] = reader.ask("counters")["n_candidates"]
        return done

    def check(name: str, query: int, answer: dict[str, Any]) -> None:
        if name == "exact":
            np.testing.assert_allclose(answer["scores"], exact_scores[query], rtol=1e-6)
            return
        recalls[name].append(recall_with_ties(answer["scores"], exact_scores[query], tolerance=1e-5))
        candidates[name].append(answer["candidates"])

    reader.search(0, K, {})
    memory = reader.ask("memory")
    runs = {
        "default": partial(search, knobs={}),
        "less": partial(search, knobs={"recall": LESS_RECALL}),
        "exact": exact,
    }
    spent = interleave(runs, len(exact_scores), seed=seed, check=check, limits={"exact": N_TIMED_EXACT})
    times = {name: calls.summary() for name, calls in spent.items()}
    # By now every block that these queries read is mapped and verified.
    again = interleave({"less": runs["less"]}, len(exact_scores), seed=seed, check=lambda *_: None)
    return {
        "recall@10": mean_interval(recalls["default"]).rounded()[0],
        **times["default"],
        "exact_cpu_median_ms": times["exact"]["cpu_median_ms"],
        "candidates_mean": float(np.mean(candidates["default"])),
        "less_recall@10": mean_interval(recalls["less"]).rounded()[0],
        "less_cpu_median_ms": times["less"]["cpu_median_ms"],
        "less_candidates_mean": float(np.mean(candidates["less"])),
        "less_again_cpu_median_ms": again["less"].summary()["cpu_median_ms"],
        "open_wall_ms": loaded["wall_ms"],
        "open_cpu_ms": loaded["cpu_ms"],
        "memory_mb": (memory["resident_bytes"] - loaded["resident_before_bytes"]) / 1e6,
        "private_mb": (memory["private_bytes"] - loaded["private_before_bytes"]) / 1e6,
    }


COLUMNS = {
    "n_docs": "documents",
    "texts": "texts",
    "cpu_median_ms": "CPU ms",
    "wall_p95_ms": "p95 wall ms",
    "recall@10": "recall@10 of exact",
    "candidates_mean": "documents scored",
    "less_cpu_median_ms": f"recall={LESS_RECALL}, CPU ms",
    "less_again_cpu_median_ms": "the same queries again, CPU ms",
    "less_recall@10": "its recall@10",
    "less_candidates_mean": "its documents scored",
    "exact_cpu_median_ms": "exact=True, CPU ms",
    "open_wall_ms": "open, ms",
    "private_mb": "memory after the first hits, MB",
    "memory_mb": "with mapped pages of the files, MB",
    "disk_bytes_per_token": "disk B/token",
    "add_cpu_per_document_ms": "add, CPU ms/document",
}


def table(result: Mapping[str, Any]) -> str:
    return markdown_table(result["rows"], COLUMNS)


def plot(result: Mapping[str, Any], path: Path) -> None:
    from benchmarks.plot import new_axes, save

    figure, [time, needed] = new_axes(2)
    rows = result["rows"]
    sizes = [row["n_docs"] for row in rows]
    time.plot(sizes, [row["cpu_median_ms"] for row in rows], marker="o", label="default")
    time.plot(sizes, [row["less_cpu_median_ms"] for row in rows], marker="o", label=f"recall={LESS_RECALL}")
    time.plot(sizes, [row["exact_cpu_median_ms"] for row in rows], marker="o", label="exact=True")
    time.set(xscale="log", yscale="log", xlabel="documents", ylabel="CPU ms per query")
    time.legend(fontsize=7)
    needed.plot(sizes, [row["candidates_mean"] for row in rows], marker="o")
    needed.set(xscale="log", yscale="log", xlabel="documents", ylabel="documents scored")
    save(figure, path)


FIGURE = Figure(
    "growth",
    claim="up to half a million documents, ten times as many take at most three times the latency",
    minutes=70,
    run=run,
    table=table,
    plot=plot,
)
