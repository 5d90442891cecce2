"""Size: bytes per token against judged quality, for every codec with token pooling 1, 2 and 3."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora.beir import Collection, read_collection
from benchmarks.corpora.pooling import pool
from benchmarks.corpora.vectors import encoded, folder_of
from benchmarks.exact import Reference
from benchmarks.figure import Figure, Measured, Options
from benchmarks.metrics import quality
from benchmarks.ours import build_index
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload

COLLECTION = "scifact"
POOLING = (1, 2, 3)
PLANES = ((8,), (4, 4), (2, 6), (4,), (2,), (1,))
DEPTH = 100


def run(options: Options) -> Measured:
    collection = read_collection(folder_of(COLLECTION, options), name=COLLECTION)
    if options.smoke:
        collection = collection.head(30, 4)
    work = encoded(collection, options.home)
    rows = [_exact_row(collection, work), *_rows(collection, work, options)]
    best = rows[0]["ndcg@10"]
    config = {"collection": COLLECTION, "pooling": POOLING, "planes": PLANES, "exact": True}
    return Measured([{**row, "ndcg_share_of_exact": row["ndcg@10"] / best} for row in rows], config)


def _exact_row(collection: Collection, work: Workload) -> Row:
    """The baseline of all other rows: MaxSim over float32 vectors."""
    ids = list(collection.documents)
    best = Reference(work.folder).ids[:, :DEPTH]
    found = {name: [(ids[row], 0.0) for row in rows] for name, rows in zip(collection.queries, best)}
    size = 4.0 * work.dim
    return {
        "planes": "float32",
        "pooling": 1,
        **{f"{kind}_bytes_per_token": size for kind in ("memory", "disk", "all")},
        **quality(found, collection.qrels),
    }


def _rows(collection: Collection, work: Workload, options: Options) -> Iterator[Row]:
    """Score every document, so that any loss of quality is due to the codes and not to candidates."""
    for factor in POOLING[: 1 if options.smoke else None]:
        vectors, doclens = pool(work, factor)
        smaller = replace(work, docs=vectors.astype(np.float16), doclens=doclens)
        for planes in PLANES[: 1 if options.smoke else None]:
            folder = options.home / "indexes" / work.folder.name / "bytes"
            texts = list(collection.documents.values())
            with build_index(folder, smaller, planes=planes, n_threads=options.threads, texts=texts) as index:
                yield {
                    "planes": "+".join(map(str, planes)),
                    "pooling": factor,
                    **_bytes(index.info()["bytes_per_token"], factor),
                    **quality(_found(index, collection, work), collection.qrels),
                }


def _bytes(per_token: Mapping[str, float], factor: int) -> Row:
    """Bytes per token of the text; one pooled token stands for `factor` tokens of the text."""
    return {f"{kind}_bytes_per_token": float(per_token[kind]) / factor for kind in ("memory", "disk", "all")}


def _found(index: Any, collection: Collection, work: Workload) -> dict[str, list[tuple[str, float]]]:
    ids = list(collection.documents)
    return {
        name: [(ids[int(hit.id)], hit.score) for hit in index.search(vectors, k=DEPTH, exact=True)]
        for name, vectors in zip(collection.queries, work.queries)
    }


COLUMNS = {
    "planes": "bits (first + second plane)",
    "pooling": "token pooling",
    "memory_bytes_per_token": "memory B/token",
    "disk_bytes_per_token": "disk B/token, retrieval files",
    "all_bytes_per_token": "disk B/token, with texts and BM25",
    "ndcg@10": "nDCG@10",
    "recall@100": "recall@100",
    "ndcg_share_of_exact": "nDCG of exact",
}


def table(result: Mapping[str, Any]) -> str:
    rows = [{**row, "ndcg_share_of_exact": f"{row['ndcg_share_of_exact']:.1%}"} for row in result["rows"]]
    return markdown_table(rows, COLUMNS)


def plot(result: Mapping[str, Any], path: Path) -> None:
    from benchmarks.plot import new_axes, save

    figure, [axis] = new_axes(1)
    for factor in POOLING:
        rows = [row for row in result["rows"] if row["pooling"] == factor]
        rows.sort(key=lambda row: row["memory_bytes_per_token"])
        x = [row["memory_bytes_per_token"] for row in rows]
        y = [row["ndcg@10"] for row in rows]
        axis.plot(x, y, marker="o", label=f"pooling {factor}")
        for row in rows:
            axis.annotate(row["planes"], (row["memory_bytes_per_token"], row["ndcg@10"]), fontsize=7)
    axis.set(xlabel="bytes per token in memory", ylabel="nDCG@10", xscale="log", title=COLLECTION)
    axis.legend(fontsize=7)
    save(figure, path)


FIGURE = Figure(
    "bytes",
    claim="the default codes keep float32's quality in an eighth of its memory; token pooling halves that",
    minutes=20,
    run=run,
    table=table,
    plot=plot,
)
