"""Runs engines side by side on one workload: same vectors, same queries, same k, same number of threads."""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engine_process import EngineError, EngineProcess
from benchmarks.environments import NotInstalledError, environments
from benchmarks.exact import Reference, WrongAnswerError
from benchmarks.figure import HERE
from benchmarks.metrics import quality
from benchmarks.protocol import Timed, Times, interleave, mean_interval
from benchmarks.result import Row
from benchmarks.workload import Workload

OURS = "colsearch"
# Our build takes seconds. The limit is generous, because it is wall time and the machine may be busy.
# An engine that takes longer is reported as skipped.
BUILD_LIMIT_S = 7_200


@dataclass(frozen=True, slots=True)
class Entrant:
    """One engine with its build settings and its search settings ("knobs").

    Attributes:
        adapter: file in engines/; the name may differ when one engine is built in several ways.
        knobs: search settings, each measured by itself; {} is the engine's default and always included.
        exact: whether every score must equal the reference's.
        n_queries: an engine that is too slow for all queries answers this many of the first ones.
    """

    name: str
    adapter: str
    build: Mapping[str, Any] = field(default_factory=dict)
    knobs: Sequence[Mapping[str, Any]] = ({},)
    exact: bool = False
    n_queries: int | None = None

    @classmethod
    def from_config(cls, name: str, fields: Mapping[str, Any]) -> "Entrant":
        return cls(name, **{"adapter": name, **fields})


@dataclass
class Contest:
    """Opens every entrant's index in a process of its own and lets the entrants answer in turns."""

    workload: Workload
    entrants: Sequence[Entrant]
    home: Path
    n_threads: int
    rebuild: bool = False
    skipped: list[Row] = field(default_factory=list)

    def run(self, *, k: int, n_queries: int, seed: int) -> list[Row]:
        """One row per entrant and knobs: recall with its interval, times, memory, bytes, build cost."""
        reference = Reference(self.workload.folder, n_queries=n_queries)
        with ExitStack() as stack:
            seats = {seat.label: seat for seat in self._seats(stack)}
            answers: dict[str, dict[int, list[int]]] = {label: {} for label in seats}

            def check(label: str, query: int, answer: dict[str, Any]) -> None:
                entrant, n_docs = seats[label].entrant, self.workload.n_docs
                try:
                    reference.check(
                        query, answer["ids"], answer["scores"], n_docs=n_docs, exact=entrant.exact
                    )
                except WrongAnswerError as error:
                    if entrant.adapter == OURS:
                        raise
                    # A peer's wrong answer is a finding about it, and none of its times count.
                    raise EngineError(f"wrong answer: {error}") from error
                answers[label][query] = answer["ids"]

            calls = {label: seat.caller(k) for label, seat in seats.items()}
            failures: dict[str, str] = {}
            limits = {label: seat.entrant.n_queries or n_queries for label, seat in seats.items()}
            times = interleave(calls, n_queries, seed=seed, check=check, failures=failures, limits=limits)
            self.skipped += [{"engine": label, "why": why} for label, why in failures.items()]
            return [
                seats[label].row(times[label], self._quality(reference, answers[label], k), k)
                for label in seats
                if label in times
            ]

    def _quality(self, reference: Reference, answers: Mapping[int, list[int]], k: int) -> Row:
        row: dict[str, Any] = {}
        for depth in (10, 100):
            if depth <= k:
                recalls = [reference.recall(query, ids, depth) for query, ids in sorted(answers.items())]
                interval = mean_interval(recalls).rounded()
                row |= {f"recall@{depth}": interval[0], f"recall@{depth}_interval": interval[1:]}
        row |= self._judged(answers)
        row["hits_missing"] = sum(len(ids) < min(k, self.workload.n_docs) for ids in answers.values())
        return row

    def _judged(self, answers: Mapping[int, list[int]]) -> Row:
        """nDCG@10 if the workload has judgements; recall of MaxSim says nothing about relevance."""
        path = self.workload.folder / "qrels.json"
        if not path.exists():
            return {}
        qrels = json.loads(path.read_text(encoding="utf-8"))
        run = {str(query): [(str(document), 0.0) for document in ids[:10]] for query, ids in answers.items()}
        figures = quality(run, {query: qrels[query] for query in run})
        return {"ndcg@10": figures["ndcg@10"], "ndcg@10_interval": figures["ndcg@10_interval"]}

    def _seats(self, stack: ExitStack) -> Iterator["Seat"]:
        for entrant in self.entrants:
            try:
                built = build(entrant, self.workload, self.home, n_threads=self.n_threads, again=self.rebuild)
                process = stack.enter_context(open_engine(entrant, self.workload, self.home, self.n_threads))
                loaded = process.ask(
                    "load", folder=str(index_folder(entrant, self.workload, self.home)), settings={}
                )
            except (NotInstalledError, EngineError) as error:
                self.skipped.append({"engine": entrant.name, "why": str(error)})
                continue
            for knobs in entrant.knobs:
                yield Seat(entrant, dict(knobs), process, built, loaded, self.workload)


@dataclass(frozen=True)
class Seat:
    """One entrant with one setting of its knobs, and the process that answers for it."""

    entrant: Entrant
    knobs: dict[str, Any]
    process: EngineProcess
    built: Mapping[str, Any]
    loaded: Mapping[str, Any]
    workload: Workload

    @property
    def label(self) -> str:
        return f"{self.entrant.name} {json.dumps(self.knobs, sort_keys=True)}"

    def caller(self, k: int) -> Any:
        def call(query: int) -> Timed[dict[str, Any]]:
            return self.process.search(query, k, self.knobs)

        return call

    def row(self, times: Times, quality: Row, k: int) -> Row:
        memory = self.process.ask("memory")
        n_tokens = len(self.workload.docs)
        return {
            "workload": self.workload.about["name"],
            "n_docs": self.workload.n_docs,
            "k": k,
            "engine": self.entrant.name,
            "build": dict(self.entrant.build),
            "knobs": self.knobs,
            "n_queries": len(times.wall_ms),
            **quality,
            **times.summary(),
            "memory_mb": (memory["resident_bytes"] - self.loaded["resident_before_bytes"]) / 1e6,
            "disk_bytes_per_token": self.built["disk_bytes"] / n_tokens,
            "build_cpu_s": self.built["cpu_ms"] / 1e3,
            "build_peak_mb": self.built["peak_bytes"] / 1e6,
            "version": version_of(self.entrant.adapter, self.built["versions"]),
        }


def version_of(adapter: str, versions: Mapping[str, str]) -> str:
    """The version of the peer's own package, which the peer's environment lists by name."""
    environment = environments().get(adapter)
    names = [requirement.split("==")[0] for requirement in environment.packages] if environment else []
    named = next(
        (name for name in names if name == adapter or name.startswith(adapter.replace("_", "-"))), ""
    )
    return versions.get(named, "")


def open_engine(entrant: Entrant, workload: Workload, home: Path, n_threads: int) -> EngineProcess:
    return EngineProcess(entrant.adapter, workload.folder, home=home, n_threads=n_threads)


def index_folder(entrant: Entrant, workload: Workload, home: Path) -> Path:
    """The folder of an index; a changed adapter gets another folder, since it may build another index."""
    source = (HERE / "engines" / f"{entrant.adapter}.py").read_text(encoding="utf-8")
    settings = json.dumps([source, entrant.build], sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    return home / "indexes" / workload.folder.name / f"{entrant.adapter}-{digest}"


def build(
    entrant: Entrant, workload: Workload, home: Path, *, n_threads: int, again: bool = False
) -> dict[str, Any]:
    """Build an index and return the cost. An index with the same versions is kept unless `again`."""
    folder = index_folder(entrant, workload, home)
    record = folder.with_suffix(".json")
    with open_engine(entrant, workload, home, n_threads) as process:
        # Our engine changes with every commit, so its index is never kept. A peer changes with its version.
        if record.exists() and not again and not entrant.adapter.startswith("colsearch"):
            stored: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
            if stored["versions"] == process.versions:
                return stored
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        built = process.ask("build", BUILD_LIMIT_S, folder=str(folder), settings=dict(entrant.build))
        built["versions"] = process.versions
    record.write_text(json.dumps(built, indent=1) + "\n", encoding="utf-8")
    return built


def cost_at_recall(curve: Sequence[Row], recall: float, *, measure: str = "recall@10") -> float | None:
    """The lowest cost of an engine at a recall, interpolated between two of its own settings.

    Only settings that no other setting beats in both recall and cost are used. Between two of them the
    logarithm of the cost is interpolated linearly.
    Returns: None beyond the best recall that the engine reached.
    """
    points = frontier(curve, measure=measure)
    better = [point for point in points if point[0] >= recall]
    if not better:
        return None
    worse = [point for point in points if point[0] < recall]
    (high, dear) = better[0]
    if not worse:
        return dear
    (low, cheap) = worse[-1]
    share = (recall - low) / (high - low)
    return math.exp((1 - share) * math.log(cheap) + share * math.log(dear))


def frontier(curve: Sequence[Row], *, measure: str = "recall@10") -> list[tuple[float, float]]:
    """(recall, CPU milliseconds) of the settings that no other beats in both, by rising recall and cost."""
    points: list[tuple[float, float]] = []
    for recall, cost in sorted(
        ((row[measure], row["cpu_median_ms"]) for row in curve), key=lambda p: (-p[0], p[1])
    ):
        if not points or cost < points[-1][1]:
            points.append((recall, cost))
    return points[::-1]
