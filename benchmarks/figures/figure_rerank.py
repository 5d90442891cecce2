"""Reranking another retriever's candidates: stored codes against vectors in memory."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.contest import Entrant, build, index_folder, open_engine, version_of
from benchmarks.corpora.vectors import workload
from benchmarks.engine_process import EngineError, EngineProcess
from benchmarks.environments import NotInstalledError
from benchmarks.exact import Reference, WrongAnswerError
from benchmarks.figure import HERE, Figure, Measured, Options
from benchmarks.protocol import Timed, interleave, ratio_of_pairs
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload

CONFIG = HERE / "configs" / "rerank.json"
OURS = "colsearch"


def run(options: Options) -> Measured:
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    work = workload(config["workload"], options)
    reference = Reference(work.folder)
    rows: list[Row] = []
    skipped: list[Row] = []
    with ExitStack() as stack:
        opened: dict[str, tuple[Entrant, EngineProcess, str]] = {}
        for name, fields in config["engines"].items():
            if options.wants(name) and (not options.smoke or name in (OURS, "numpy_scan")):
                entrant = Entrant.from_config(name, fields)
                try:
                    opened[name] = _open(entrant, work, options, stack)
                except (NotInstalledError, EngineError) as error:
                    skipped.append({"engine": name, "why": str(error)})
        for size in (20,) if options.smoke else config["sizes"]:
            rows += _race(
                opened, work, reference, size, 3 if options.smoke else config["n_queries"], options, skipped
            )
    return Measured(rows, config, skipped=skipped)


def _open(
    entrant: Entrant, work: Workload, options: Options, stack: ExitStack
) -> tuple[Entrant, EngineProcess, str]:
    built = build(entrant, work, options.home, n_threads=options.threads)
    process = stack.enter_context(open_engine(entrant, work, options.home, options.threads))
    process.ask("load", folder=str(index_folder(entrant, work, options.home)), settings={})
    return entrant, process, version_of(entrant.adapter, built["versions"])


def _race(
    opened: Mapping[str, tuple[Entrant, EngineProcess, str]],
    work: Workload,
    reference: Reference,
    size: int,
    n_queries: int,
    options: Options,
    skipped: list[Row],
) -> list[Row]:
    """Time the reranking of each query's exact top `size`, shuffled, as from a good retriever."""
    generator = np.random.default_rng(options.seed)
    candidates = [generator.permutation(reference.ids[query, :size]).tolist() for query in range(n_queries)]
    errors: dict[str, float] = dict.fromkeys(opened, 0.0)
    recalls: dict[str, list[float]] = {name: [] for name in opened}

    def check(name: str, query: int, answer: dict[str, Any]) -> None:
        scores = np.array(answer["scores"], np.float64)
        exact_scores = dict(zip(reference.ids[query].tolist(), reference.scores[query].tolist()))
        truth = np.array([exact_scores[candidate] for candidate in candidates[query]])
        error = float(np.nanmax(np.abs(scores - truth)))
        if opened[name][0].exact and not error < 2e-2:
            raise WrongAnswerError(f"{name}: a reranked score is off by {error}")
        errors[name] = max(errors[name], error)
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
        recalls[name].append(reference.recall(query, [candidates[query][i] for i in order], 10))

    def caller(name: str) -> Any:
        def call(query: int) -> Timed[dict[str, Any]]:
            return opened[name][1].rerank(query, candidates[query], {})

        return call

    failures: dict[str, str] = {}
    calls = {name: caller(name) for name in opened if name not in {skip["engine"] for skip in skipped}}
    times = interleave(calls, n_queries, seed=options.seed, check=check, failures=failures)
    skipped += [{"engine": name, "why": why} for name, why in failures.items()]
    return [
        {
            "engine": name,
            "version": opened[name][2],
            "candidates": size,
            "recall@10": float(np.mean(recalls[name])),
            "max_abs_error": errors[name],
            **times[name].summary(),
            "cpu_ratio_to_ours": ratio_of_pairs(times[name].cpu_ms, times[OURS].cpu_ms).rounded()
            if OURS in times
            else None,
        }
        for name in times
    ]


def table(result: Mapping[str, Any]) -> str:
    columns = {
        "candidates": "candidates",
        "engine": "engine",
        "cpu_median_ms": "CPU ms",
        "wall_median_ms": "wall ms",
        "wall_p95_ms": "p95 ms",
        "cpu_ratio_to_ours": "CPU / ours (interval)",
        "recall@10": "recall@10 of exact",
        "max_abs_error": "largest score error",
    }
    return markdown_table(result["rows"], columns)


FIGURE = Figure(
    "rerank",
    claim="reranking from stored 4-bit codes costs less CPU than peers need on float32 in memory",
    minutes=5,
    run=run,
    table=table,
)
