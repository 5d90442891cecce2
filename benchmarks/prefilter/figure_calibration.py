"""The basis of recall=: the share that searches miss if they stop at z, the floor for z, the recall."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpora.synthetic import Shape, synthetic
from benchmarks.corpora.vectors import workload
from benchmarks.figure import Figure, Measured, Options
from benchmarks.ours import build_index
from benchmarks.protocol import mean_interval
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload
from colsearch.prefilter.calibration import DEPTHS, REAL_MISSES, Z_STEPS, Calibration
from colsearch.prefilter.settings import DEFAULT as SETTINGS
from colsearch.prefilter.synthetic_queries import synthetic_queries


@dataclass(frozen=True, slots=True)
class Source:
    """A collection, or n_docs of its documents: the first ones, or a sample from all over it."""

    name: str
    n_docs: int | None = None
    from_all_over: bool = False

    def workload(self, options: Options) -> Workload:
        whole = workload(self.name, options)
        if self.n_docs is None:
            return whole
        rows = np.arange(self.n_docs)
        if self.from_all_over:
            rows = rows * whole.n_docs // self.n_docs
        docs = [whole.docs[whole.offsets[row] : whole.offsets[row + 1]] for row in rows]
        return replace(whole, docs=np.concatenate(docs), doclens=whole.doclens[rows])


# REAL_MISSES was taken from the first group. No rule was chosen on the second, which is one collection in
# several sizes. Its samples are from all over it, because neighbouring documents are alike.
READ_OFF = (
    Source("squad-dev"),
    Source("scifact"),
    Source("debian", 3_000),
    Source("debian", 10_000),
    Source("debian"),
)
UNSEEN = (
    Source("wordnet", 5_000, from_all_over=True),
    Source("wordnet", 10_000, from_all_over=True),
    Source("wordnet", 30_000, from_all_over=True),
    Source("wordnet"),
)
REAL, MADE_UP = "real", "made of documents"
N_REAL, N_MADE_UP = 1_000, 384
Z = tuple(range(REAL_MISSES.shape[1]))
PROMISES = (0.9, 0.95, 0.99)
N_DRAWS, WORST_SHARE = 500, 0.02
# Just enough tokens for an index to fit a prefilter.
SMOKE_SHAPE = Shape(
    n_docs=1_100, mean_tokens=70, n_queries=6, query_tokens=6, dim=320, n_kinds=100, n_topics=10
)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedRecall:
    """Attributes:
    recalls: (n_queries, n_steps) float32, the share of the k best found if scoring stops at each step of z.
    n_scored: (n_queries, n_steps) int64, the number of documents scored for it.
    """

    recalls: NDArray[np.float32]
    n_scored: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedCollection:
    """One collection, with simulated recall by kind of query and number of hits."""

    name: str
    n_docs: int
    simulated: Mapping[tuple[str, int], SimulatedRecall]

    @property
    def about(self) -> Row:
        return {"collection": self.name, "n_docs": self.n_docs}

    @property
    def title(self) -> str:
        return _title(self.about)


def run(options: Options) -> Measured:
    if options.smoke:
        tiny = _simulate("synthetic", synthetic(SMOKE_SHAPE, options.home), options, n_made_up=32)
        read_off = unseen = [tiny]
    else:
        read_off, unseen = (_measured(sources, options) for sources in (READ_OFF, UNSEEN))
    rows = [*misses(read_off, read_off=True), *misses(unseen, read_off=False), *floor(read_off, unseen)]
    for collection in [*read_off, *unseen]:
        rows += draws(collection, seed=options.seed)
    return Measured(
        rows,
        {
            "n_real": N_REAL,
            "n_made_up": N_MADE_UP,
            "n_draws": N_DRAWS,
            "n_of_a_draw": SETTINGS.n_calibration,
        },
    )


def _measured(sources: Sequence[Source], options: Options) -> list[SimulatedCollection]:
    return [
        _simulate(source.name, source.workload(options), options, n_made_up=N_MADE_UP) for source in sources
    ]


def _simulate(name: str, work: Workload, options: Options, *, n_made_up: int) -> SimulatedCollection:
    folder = options.home / "indexes" / work.folder.name / "calibration"
    with build_index(folder, work, n_threads=options.threads) as index:
        made_up = synthetic_queries(
            index._store.snapshot(), index._scorer, index._encoder, SETTINGS, n_made_up,
            seed=SETTINGS.seed + 1, n_threads=options.threads,
        )  # fmt: skip
        queries = {REAL: work.queries[:N_REAL], MADE_UP: made_up}
        simulated = {
            (kind, k): recall
            for kind, vectors in queries.items()
            for k, recall in zip(DEPTHS, _simulated_recall(index, vectors))
        }
    return SimulatedCollection(name, work.n_docs, simulated)


def _simulated_recall(index: Any, queries: Sequence[NDArray[np.float32]]) -> Iterator[SimulatedRecall]:
    """Yield the simulated recall for each of DEPTHS."""
    simulation = index._maintainer.simulate(index._store.snapshot().model, queries)
    everyone = range(len(queries))
    for k in DEPTHS:
        yield SimulatedRecall(simulation.recalls(k, everyone), simulation.n_scored(k, everyone))


def misses(collections: Sequence[SimulatedCollection], *, read_off: bool) -> Iterator[Row]:
    """Rows with the share of the k best that is missed at each z of REAL_MISSES, and the documents scored."""
    for collection in collections:
        for (kind, k), simulated in collection.simulated.items():
            for z, missed in zip(Z, _missed(simulated)):
                interval = mean_interval(missed)
                yield {
                    "table": "misses",
                    **collection.about,
                    "read_off": read_off,
                    "kind": kind,
                    "n_queries": len(missed),
                    "k": k,
                    "z": z,
                    "missed": round(interval.estimate, 5),
                    "missed_interval": [round(interval.low, 5), round(interval.high, 5)],
                    "n_scored": round(float(simulated.n_scored[:, _step(z)].mean()), 1),
                }


def _missed(simulated: SimulatedRecall) -> Iterator[NDArray[np.float32]]:
    """Yield the missed share, (n_queries,), for each z of REAL_MISSES."""
    return (1 - simulated.recalls[:, _step(z)] for z in Z)


def _step(z: float) -> int:
    return int(np.searchsorted(Z_STEPS, z))


def floor(read_off: Sequence[SimulatedCollection], unseen: Sequence[SimulatedCollection]) -> Iterator[Row]:
    """Rows that compare REAL_MISSES with the collections it was taken from, and with the others."""
    for k, shipped in zip(DEPTHS, REAL_MISSES):
        missed_by_title = {
            c.title: [float(missed.mean()) for missed in _missed(c.simulated[REAL, k])] for c in read_off
        }
        for collection in unseen:
            for z, missed in zip(Z, _missed(collection.simulated[REAL, k])):
                largest, largest_of = max((by_z[z], title) for title, by_z in missed_by_title.items())
                interval = mean_interval(missed)
                yield {
                    "table": "floor",
                    "k": k,
                    "z": z,
                    "largest_missed": round(largest, 5),
                    "largest_of": largest_of,
                    "floor": float(shipped[z]),
                    **collection.about,
                    "missed": round(interval.estimate, 5),
                    "missed_interval": [round(interval.low, 5), round(interval.high, 5)],
                    "holds": bool(interval.estimate <= shipped[z]),
                }


def draws(collection: SimulatedCollection, *, seed: int) -> Iterator[Row]:
    """Rows with the recall of real queries for calibrations that are drawn from queries made of documents."""
    generator = np.random.default_rng(seed)
    n_made_up = len(collection.simulated[MADE_UP, DEPTHS[0]].recalls)
    for k in DEPTHS:
        made_up, real = collection.simulated[MADE_UP, k].recalls, collection.simulated[REAL, k]
        # For many hits a calibration uses fewer of its queries.
        n_drawn = SETTINGS.n_calibration * len(made_up) // n_made_up
        chosen = generator.integers(0, len(made_up), (N_DRAWS, n_drawn))
        calibrations = [
            Calibration(np.stack([made_up[drawn].mean(axis=0)] * len(DEPTHS))) for drawn in chosen
        ]
        # Beyond the last step of z every document is scored.
        found_at = np.append(real.recalls.mean(axis=0), 1.0)
        scored_at = np.append(real.n_scored.mean(axis=0), collection.n_docs)
        for promised in PROMISES:
            picked = [calibration.stop_deviations(promised, k) for calibration in calibrations]
            steps = np.array([len(Z_STEPS) if z is None else _step(z) for z in picked])
            found = np.sort(found_at[steps])
            yield {
                "table": "draws",
                **collection.about,
                "k": k,
                "promised": promised,
                "found": round(float(found.mean()), 4),
                "found_in_worst": round(float(found[: int(WORST_SHARE * N_DRAWS)].mean()), 4),
                "n_scored": round(float(scored_at[steps].mean()), 1),
                "n_scored_p95": round(float(np.percentile(scored_at[steps], 95)), 1),
                "all_scanned": round(float((steps == len(Z_STEPS)).mean()), 4),
            }


def misses_table(result: Mapping[str, Any]) -> str:
    """A table with one line per z and one column per collection, for ten hits."""
    columns = {"z": f"z: {REAL} queries (queries {MADE_UP})"}
    found: dict[int, dict[str, dict[str, float]]] = {}
    for row in _of(result, "misses"):
        if row["k"] == DEPTHS[0]:
            columns[_title(row)] = (
                _title(row) if row["read_off"] else f"{_title(row)}: not used for the floor"
            )
            found.setdefault(row["z"], {}).setdefault(_title(row), {})[row["kind"]] = row["missed"]
    lines = [
        {"z": z}
        | {title: f"{missed[REAL]:.4f} ({missed[MADE_UP]:.4f})" for title, missed in of_collections.items()}
        for z, of_collections in found.items()
    ]
    return markdown_table(lines, columns)


def _title(about: Row) -> str:
    return f"{about['collection']}, {about['n_docs']:,}"


def floor_table(result: Mapping[str, Any]) -> str:
    """A table with one line per z; values above the floor are bold."""
    columns = {
        "k": "hits",
        "z": "z",
        "largest_missed": "the largest of five collections",
        "largest_of": "collection",
        "floor": "the floor",
    }
    shared = list(columns)
    lines: dict[tuple[int, int], dict[str, Any]] = {}
    for row in _of(result, "floor"):
        columns[_title(row)] = _title(row)
        line = lines.setdefault((row["k"], row["z"]), {key: row[key] for key in shared})
        line[_title(row)] = f"{row['missed']:.4f}" if row["holds"] else f"**{row['missed']:.4f}**"
    return markdown_table(list(lines.values()), columns)


def draws_table(result: Mapping[str, Any], *, k: int) -> str:
    columns = {
        "promised": "recall=",
        "collection": "collection",
        "n_docs": "documents",
        "found": "real queries find",
        "found_in_worst": f"in the worst {WORST_SHARE:.0%} of draws",
        "n_scored": "documents scored",
        "n_scored_p95": "95th percentile of the draws",
        "all_scanned": "share of draws that scan all",
    }
    rows = [row for row in _of(result, "draws") if row["k"] == k]
    rows.sort(key=lambda row: float(row["promised"]))
    return markdown_table(rows, columns)


def _of(result: Mapping[str, Any], table: str) -> list[Row]:
    return [row for row in result["rows"] if row["table"] == table]


FIGURE = Figure(
    "calibration",
    claim="on a collection that no rule was chosen on, real queries miss no more than the floor, and "
    "recall= is kept",
    minutes=8,
    run=run,
    table=misses_table,
    views={
        "floor": floor_table,
        "draws": partial(draws_table, k=DEPTHS[0]),
        "draws-100": partial(draws_table, k=DEPTHS[1]),
    },
)
