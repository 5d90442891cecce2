"""Building: tokens per CPU-second and peak memory, of the encoder and of the index separately."""

import time
from collections.abc import Mapping
from typing import Any

from benchmarks.contest import Entrant, build
from benchmarks.corpora.beir import Collection, read_collection
from benchmarks.corpora.vectors import folder_of, workload
from benchmarks.exact import Reference
from benchmarks.figure import Figure, Measured, Options
from benchmarks.ours import hit_ids
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload

N_ENCODED = 1_000
PLANES = ((4, 4), (2, 6), (4,), (2,), (1,))


def run(options: Options) -> Measured:
    rows: list[Row] = []
    for name in ("debian",) if options.smoke else ("synthetic", "debian"):
        work = workload(name, options)
        rows += [_index_row(work, planes, options) for planes in (PLANES[:1] if options.smoke else PLANES)]
    if not options.smoke:
        collection = read_collection(folder_of("debian", options), name="debian")
        rows.append(_encoder_row(collection, rows[-1]["n_tokens"] / rows[-1]["n_docs"]))
    return Measured(rows, {"n_encoded": N_ENCODED, "planes": PLANES})


def _index_row(work: Workload, planes: tuple[int, ...], options: Options) -> Row:
    """Build, in a process of its own, codes, prefilter and all other parts of an index, synced to disk."""
    entrant = Entrant("colsearch", "colsearch", build={"planes": list(planes)})
    built = build(entrant, work, options.home, n_threads=options.threads, again=True)
    n_tokens = len(work.docs)
    return {
        "stage": "index",
        "workload": work.about["name"],
        "planes": "+".join(map(str, planes)),
        "n_docs": work.n_docs,
        "n_tokens": n_tokens,
        "recall@10": _recall(entrant, work, options),
        "tokens_per_cpu_s": n_tokens / built["cpu_ms"] * 1e3,
        "cpu_s": built["cpu_ms"] / 1e3,
        "wall_s": built["wall_ms"] / 1e3,
        "peak_mb": (built["peak_bytes"] - built["peak_before_bytes"]) / 1e6,
    }


def _recall(entrant: Entrant, work: Workload, options: Options) -> float:
    """Recall@10 of the index that was just built: a fast build of a bad index is no achievement."""
    from benchmarks.contest import index_folder
    from colsearch import ColIndex

    n_queries = min(50, len(work.queries))
    reference = Reference(work.folder, n_queries=n_queries)
    with ColIndex.open(index_folder(entrant, work, options.home), read_only=True) as index:
        found = [hit_ids(index.search(work.queries[query], k=10)) for query in range(n_queries)]
    return sum(reference.recall(query, ids, 10) for query, ids in enumerate(found)) / n_queries


def _encoder_row(collection: Collection, tokens_per_doc: float) -> Row:
    from colsearch.encoders import load_encoder

    encoder = load_encoder(None)
    texts = list(collection.documents.values())[:: max(1, len(collection.documents) // N_ENCODED)]
    encoder.encode_document(texts[:32])
    started, wall = time.process_time(), time.perf_counter()
    tokens = encoder.encode_document(texts)
    cpu_s, wall_s = time.process_time() - started, time.perf_counter() - wall
    return {
        "stage": "encoder",
        "workload": collection.name,
        "n_docs": len(texts),
        "n_tokens": len(tokens.vectors),
        "checked": bool(abs(len(tokens.vectors) / len(texts) / tokens_per_doc - 1) < 0.1),
        "tokens_per_cpu_s": len(tokens.vectors) / cpu_s,
        "cpu_s": cpu_s,
        "wall_s": wall_s,
    }


def table(result: Mapping[str, Any]) -> str:
    columns = {
        "stage": "stage",
        "workload": "texts",
        "planes": "planes",
        "n_tokens": "tokens",
        "tokens_per_cpu_s": "tokens per CPU s",
        "wall_s": "wall s",
        "peak_mb": "peak MB above start",
        "recall@10": "recall@10 of the new index",
    }
    return markdown_table(result["rows"], columns)


FIGURE = Figure(
    "build",
    claim="indexing costs at most 5 % of encoding",
    minutes=10,
    run=run,
    table=table,
)
