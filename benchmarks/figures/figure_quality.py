"""Quality: relevance of every way to search, on the shipped collections or the user's own."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.corpora.beir import Collection, read_collection
from benchmarks.corpora.vectors import encoded, folder_of, pooled
from benchmarks.exact import Reference
from benchmarks.figure import HERE, Figure, Measured, Options
from benchmarks.lexical import bm25_best
from benchmarks.metrics import Run, quality
from benchmarks.ours import build_index
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload

if TYPE_CHECKING:
    from colsearch import ColIndex

CONFIG = HERE / "configs" / "quality.json"
EXACT = "exact MaxSim, float32"
DEPTH = 100
Answer = Callable[[int], list[tuple[int, float]]]


def run(options: Options) -> Measured:
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    names = [options.data.name] if options.data else list(config["collections"])
    if options.smoke:
        names = names[:1]
    return Measured([row for name in names for row in _collection_rows(name, config, options)], config)


def _collection_rows(name: str, config: Mapping[str, Any], options: Options) -> Iterator[Row]:
    split = config["collections"].get(name, {}).get("split", "test")
    collection = read_collection(folder_of(name, options), split=split, name=name)
    if options.smoke:
        collection = collection.head(40, 5)
    work = encoded(collection, options.home)
    folder = options.home / "indexes" / work.folder.name / "quality"
    texts = list(collection.documents.values())
    with build_index(folder, work, n_threads=options.threads, texts=texts, with_encoder=True) as index:
        exact_ndcg = None
        for system, answer in _systems(collection, work, index, config, options.home).items():
            found, cpu_ms = _answers(collection, answer)
            figures = quality(found, collection.qrels)
            exact_ndcg = exact_ndcg or float(figures["ndcg@10"])
            yield {
                "collection": name,
                "n_docs": len(collection.documents),
                "n_queries": len(collection.queries),
                "system": system,
                **figures,
                "ndcg_share_of_exact": float(figures["ndcg@10"]) / exact_ndcg,
                "cpu_mean_ms": cpu_ms if system.startswith("colsearch") else None,
            }


def _systems(
    collection: Collection, work: Workload, index: "ColIndex", config: Mapping[str, Any], home: Any
) -> dict[str, Answer]:
    """The systems to compare. Exact MaxSim comes first, because the others are compared with it."""
    reference = Reference(work.folder)
    texts = list(collection.queries.values())
    lexical = bm25_best(list(collection.documents.values()), texts, DEPTH)

    def ours(knobs: Mapping[str, Any]) -> Answer:
        def answer(query: int) -> list[tuple[int, float]]:
            given = texts[query] if knobs.get("hybrid") else work.queries[query]
            return [(int(hit.id), hit.score) for hit in index.search(given, k=DEPTH, **knobs)]

        return answer

    systems: dict[str, Answer] = {
        EXACT: lambda query: list(
            zip(reference.ids[query, :DEPTH].tolist(), reference.scores[query, :DEPTH].tolist())
        ),
        "BM25": lambda query: [(row, -float(rank)) for rank, row in enumerate(lexical[query])],
        "single vector": _single_vector(collection, home),
    }
    return systems | {f"colsearch {name}": ours(knobs) for name, knobs in config["ours"].items()}


def _answers(collection: Collection, answer: Answer) -> tuple[Run, float]:
    """The document ids that a system found, and its CPU time per query."""
    ids = list(collection.documents)
    started = time.process_time()
    found = [answer(query) for query in range(len(collection.queries))]
    cpu_ms = (time.process_time() - started) * 1e3 / len(found)
    named = ([(ids[row], score) for row, score in hits] for hits in found)
    return dict(zip(collection.queries, named)), cpu_ms


def _single_vector(collection: Collection, home: Any) -> Answer:
    """The embedded model as a single-vector model, as it was trained: mean-pooled, cosine."""
    documents, queries = pooled(collection, home)

    def answer(query: int) -> list[tuple[int, float]]:
        scores = documents @ queries[query]
        best = np.argsort(-scores, kind="stable")[:DEPTH]
        return [(int(row), float(scores[row])) for row in best]

    return answer


COLUMNS = {
    "collection": "collection",
    "system": "system",
    "ndcg@10": "nDCG@10",
    "recall@100": "recall@100",
    "mrr@10": "MRR@10",
    "ndcg_share_of_exact": "nDCG of exact",
    "cpu_mean_ms": "CPU ms/query",
}


def table(result: Mapping[str, Any]) -> str:
    def readable(row: Row) -> Row:
        low, high = row["ndcg@10_interval"]
        return {
            **row,
            "ndcg@10": f"{row['ndcg@10']:.3f} ({low:.3f}-{high:.3f})",
            "ndcg_share_of_exact": f"{row['ndcg_share_of_exact']:.1%}",
        }

    return markdown_table([readable(row) for row in result["rows"]], COLUMNS)


_FIRST_PAGE = (EXACT, "BM25", "single vector", "colsearch default", "colsearch hybrid='rrf'")


def summary(result: Mapping[str, Any]) -> str:
    """A table of nDCG@10 with one row per system and one column per collection."""
    collections = list(dict.fromkeys(row["collection"] for row in result["rows"]))
    by_place = {(row["system"], row["collection"]): row["ndcg@10"] for row in result["rows"]}
    rows = [
        {"nDCG@10": system, **{name: f"{by_place[system, name]:.3f}" for name in collections}}
        for system in _FIRST_PAGE
    ]
    return markdown_table(rows)


FIGURE = Figure(
    "quality",
    claim="default search keeps at least 99.5 % of exact float32 MaxSim's nDCG@10",
    minutes=20,
    run=run,
    table=table,
    views={"summary": summary},
)
