"""The prefilter: recall of its best N and of other single vectors, and the recall that recall= gives."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpora.beir import read_collection
from benchmarks.corpora.vectors import DATA, SPLITS, pooled, workload
from benchmarks.engines.faiss_muvera import Cells
from benchmarks.exact import Reference
from benchmarks.figure import Figure, Measured, Options
from benchmarks.ours import build_index
from benchmarks.protocol import mean_interval, timed
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload
from colsearch.prefilter.quantizer import stage_bytes

COLLECTIONS = ("squad-dev", "debian", "wordnet")
N_QUERIES = 1_000
# (k, N): the share of exact MaxSim's k best among the N best candidates.
DEPTHS = ((10, 50), (10, 100), (10, 200), (10, 500), (100, 500), (100, 1_000))
DEEPEST = max(n for _, n in DEPTHS)
# Candidates before all codes order them: somewhat more than a search for 100 hits fetches first.
N_FETCHED = 3_200
# Largest collections for the other methods. Their float32 vectors have up to 20,480 bytes and are computed
# one document at a time. For the model's own vector, encoding a collection again takes longer than all else.
_MOST_OTHERS, _MOST_ENCODED = 50_000, 10_000
PROMISES = (0.9, 0.95, 0.99)
# A function from a query's number to its documents, best first.
Order: TypeAlias = Callable[[int], NDArray[np.int64]]


def run(options: Options) -> Measured:
    rows: list[Row] = []
    for name in COLLECTIONS[-1:] if options.smoke else COLLECTIONS:
        work = workload(name, options)
        n_queries = 4 if options.smoke else min(N_QUERIES, len(work.queries))
        about = {"workload": name, "n_docs": work.n_docs, "n_queries": n_queries}
        reference = Reference(work.folder, n_queries=n_queries)
        folder = options.home / "indexes" / work.folder.name / "prefilter"
        with build_index(folder, work, n_threads=options.threads) as index:
            for method, n_bytes, order in [*_learned(index, work), *_others(name, work, options)]:
                found = [order(query).tolist() for query in range(n_queries)]
                rows.append(
                    {**about, "method": method, "bytes_per_doc": n_bytes, **_recalls(found, reference)}
                )
            rows += [{**about, **row} for row in _promises(index, work.queries[:n_queries])]
    return Measured(rows, {"n_queries": N_QUERIES, "depths": DEPTHS, "promises": PROMISES})


def _learned(index: Any, work: Workload) -> Iterator[tuple[str, int, Order]]:
    snapshot = index._store.snapshot()
    if snapshot.model is None:
        return
    view = index._engine.view_of(snapshot)
    candidates = view.make_candidates(index._scorer)
    # The index was compacted to one segment, so a row is a document number.
    yield (
        "learned",
        sum(stage_bytes(view.prefilter.n_dims)),
        lambda q: candidates.fetch(index._codec.prepare_query(work.queries[q]), N_FETCHED, None)[0],
    )


def _others(name: str, work: Workload, options: Options) -> Iterator[tuple[str, int, Order]]:
    if work.n_docs > _MOST_OTHERS:
        return
    starts = work.offsets[:-1]
    means = _unit(np.add.reduceat(np.asarray(work.docs, np.float32), starts, axis=0))
    yield "mean pooling, float32", means.shape[1] * 4, _by(means, lambda q: work.queries[q].sum(0))
    cells = Cells(work.dim)
    encodings = np.stack([cells.document(document) for document in work.iterate()])
    yield "MUVERA, float32", encodings.shape[1] * 4, _by(encodings, lambda q: cells.query(work.queries[q]))
    if not options.smoke and work.n_docs < _MOST_ENCODED:
        collection = read_collection(DATA / name, split=SPLITS.get(name, "test"), name=name)
        documents, queries = pooled(collection, options.home)
        yield "the model's own vector, float32", documents.shape[1] * 4, _by(documents, lambda q: queries[q])


def _by(documents: NDArray[np.float32], query: Callable[[int], NDArray[np.float32]]) -> Order:
    return lambda q: np.argsort(-(documents @ query(q)), kind="stable")[:DEEPEST]


def _recalls(found: list[list[int]], reference: Reference) -> Row:
    row: Row = {}
    for k, n in DEPTHS:
        if k > reference.ids.shape[1]:
            continue
        shares = []
        for query, candidates in enumerate(found):
            best = reference.scores[query, k - 1] - 1e-4
            good = set(reference.ids[query][reference.scores[query] >= best].tolist())
            shares.append(min(len(good.intersection(candidates[:n])), k) / k)
        interval = mean_interval(shares).rounded()
        row[f"recall@{k} in {n}"] = interval[0]
        row[f"recall@{k} in {n}_interval"] = interval[1:]
    return row


def _promises(index: Any, queries: list[NDArray[np.float32]]) -> Iterator[Row]:
    for promised in PROMISES:
        audit = index.audit(queries, recall=promised)
        cpu = [_cpu_ms(index, query, promised) for query in queries[:200]]
        yield {
            "method": "promise",
            "promised": promised,
            "recall@10": round(audit.recall, 4),
            "recall@10_interval": [round(bound, 4) for bound in audit.interval],
            "n_candidates": round(audit.n_candidates, 1),
            "share_scored": round(audit.share_scored, 4),
            "cpu_median_ms": round(float(np.median(cpu)), 3),
        }


def _cpu_ms(index: Any, query: NDArray[np.float32], recall: float) -> float:
    return timed(lambda: index.search(query, recall=recall)).cpu_ms


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def table(result: Mapping[str, Any]) -> str:
    columns = {
        "workload": "collection",
        "method": "one vector per document",
        "bytes_per_doc": "bytes/document",
    }
    columns |= {f"recall@{k} in {n}": f"top {k} in {n}" for k, n in DEPTHS}
    return markdown_table([row for row in result["rows"] if row["method"] != "promise"], columns)


def promises(result: Mapping[str, Any]) -> str:
    columns = {
        "workload": "collection",
        "n_docs": "documents",
        "promised": "recall=",
        "recall@10": "recall@10 found",
        "recall@10_interval": "95 % interval",
        "n_candidates": "documents scored",
        "share_scored": "share of all",
        "cpu_median_ms": "CPU ms",
    }
    return markdown_table([row for row in result["rows"] if row["method"] == "promise"], columns)


FIGURE = Figure(
    "prefilter",
    claim="the learned vector's best 100 hold 95 % of exact MaxSim's top 10, and recall= keeps its promise",
    minutes=25,
    run=run,
    table=table,
    views={"promises": promises},
)
