"""Updates: the cost of adding, replacing and deleting documents of a large index."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.corpora.vectors import workload
from benchmarks.exact import Reference
from benchmarks.figure import Figure, Measured, Options
from benchmarks.ours import build_index
from benchmarks.protocol import Timed, timed
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload

if TYPE_CHECKING:
    from colsearch import ColIndex

SIZES = (1, 100, 10_000)
REPEATS = {1: 20, 100: 10, 10_000: 1}


def run(options: Options) -> Measured:
    work = workload("debian", options)
    sizes = (1, 20) if options.smoke else SIZES
    folder = options.home / "indexes" / work.folder.name / "updates"
    documents = list(work.iterate(np.float16))
    rows: list[Row] = []
    with build_index(folder, work, n_threads=options.threads) as index:
        for n in sizes:
            rows += _rows(index, work, documents, n, options)
        rows.append(_cost("compact", 0, [timed(index.compact)], index, work))
    return Measured(rows, {"workload": "debian", "n_docs": work.n_docs, "repeats": REPEATS})


def _rows(index: "ColIndex", work: Workload, documents: list[Any], n: int, options: Options) -> list[Row]:
    repeats = 2 if options.smoke else REPEATS[n]
    chosen = [documents[i % len(documents)].astype(np.float32) for i in range(n)]

    def names(repeat: int) -> list[str]:
        return [f"new-{n}-{repeat}-{i}" for i in range(n)]

    steps: dict[str, Callable[[int], Any]] = {
        "add": lambda repeat: index.add_vectors(chosen, ids=names(repeat)),
        "update": lambda repeat: index.update_vectors(chosen, ids=names(repeat)),
        "delete": lambda repeat: index.delete(names(repeat)),
    }
    rows = []
    for step, act in steps.items():
        times = [timed(partial(act, repeat)) for repeat in range(repeats)]
        rows.append(_cost(step, n, times, index, work))
    return rows


def _cost(step: str, n: int, times: list[Timed[Any]], index: "ColIndex", work: Workload) -> Row:
    """The median cost of a call, with a check that the index still gives right answers afterwards."""
    wall, cpu = np.median([call.wall_ms for call in times]), np.median([call.cpu_ms for call in times])
    return {
        "step": step,
        "documents": n,
        "wall_ms": float(wall),
        "cpu_ms": float(cpu),
        "wall_per_document_ms": float(wall) / n if n else None,
        "recall@10": _recall(index, work),
        "n_segments": index.info()["n_segments"],
    }


def _recall(index: "ColIndex", work: Workload) -> float:
    """Recall of the original documents. The added documents are copies, so a copy counts as its original."""
    n_queries = min(20, len(work.queries))
    reference = Reference(work.folder, n_queries=n_queries)
    recalls = []
    for query in range(n_queries):
        hits = index.search(work.queries[query], k=40, exact=True)
        originals = [int(hit.id) for hit in hits if isinstance(hit.id, int)]
        recalls.append(reference.recall(query, originals, 10))
    return sum(recalls) / len(recalls)


def table(result: Mapping[str, Any]) -> str:
    columns = {
        "step": "call",
        "documents": "documents",
        "wall_ms": "wall ms",
        "cpu_ms": "CPU ms",
        "wall_per_document_ms": "wall ms per document",
        "n_segments": "segments after",
        "recall@10": "recall@10 after (exact search)",
    }
    return markdown_table(result["rows"], columns)


FIGURE = Figure(
    "updates",
    claim="one document is added, replaced or deleted, durably, in milliseconds, whatever the index's size",
    minutes=5,
    run=run,
    table=table,
)
