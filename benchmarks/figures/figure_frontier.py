"""Dimensions and bits of the default encoder, to be chosen together: quality, bytes and query time."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpora.beir import Collection, read_collection
from benchmarks.corpora.vectors import SPLITS, encoded, folder_of, pooled
from benchmarks.exact import exact_scores
from benchmarks.figure import Figure, Measured, Options
from benchmarks.lexical import bm25_best
from benchmarks.metrics import per_query_figures
from benchmarks.ours import bytes_of_planes
from benchmarks.protocol import Interval, mean_interval
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload

# debian is left out, because the projection is learnt from texts of debian's kind.
COLLECTIONS = ("squad-dev", "scifact")
STATES = 384
DIMS = (64, 96, 128, 192, 256, 320, STATES)
PLANES = ((4, 4), (2, 6), (4,), (2,), (1,))
# The scan works as the index does: the first plane ranks, then all planes score this many of the best.
N_RESCORED = 32
DEPTH = 100
BLOCK_DOCS = 256
FLOAT = "float32"

PerQuery = NDArray[np.float64]


def run(options: Options) -> Measured:
    names = [options.data.name] if options.data else list(COLLECTIONS)
    rows = [row for name in (names[:1] if options.smoke else names) for row in _rows(name, options)]
    config = {"dims": DIMS, "planes": PLANES, "n_rescored": N_RESCORED, "baseline": f"{STATES} dims, {FLOAT}"}
    return Measured(rows, config)


def _rows(name: str, options: Options) -> Iterator[Row]:
    """Score every document, so that any loss of quality is due to dimensions and codes, not to candidates."""
    split = SPLITS.get(name, "test")
    collection = read_collection(folder_of(name, options), split=split, name=name)
    if options.smoke:
        collection = collection.head(30, 4)
    states = _states(collection, options)
    baseline = _ndcg(collection, _best(exact_scores(states)))
    about = {"collection": name, "n_docs": states.n_docs, "n_tokens": int(states.doclens.sum())}
    yield {**about, **_row(FLOAT, STATES, baseline, baseline), "memory_bytes": STATES * 4}
    yield {
        **about,
        **_row("single vector", STATES, _ndcg(collection, _single(collection, options)), baseline),
    }
    yield {**about, **_row("BM25", None, _ndcg(collection, _lexical(collection)), baseline)}
    for dim in DIMS[-1:] if options.smoke else DIMS:
        vectors, queries = _projected(states, dim)
        for planes in PLANES[:2] if options.smoke else PLANES:
            found, figures = _search(vectors, states, queries, planes, options)
            yield {**about, **_row(_name(planes), dim, _ndcg(collection, found), baseline), **figures}


def _states(collection: Collection, options: Options) -> Workload:
    """The model's token states in all 384 dimensions, of documents and queries as encoded by default."""
    from colsearch.encoders.embedded import EmbeddedEncoder
    from colsearch.encoders.projection import Projection

    identity = EmbeddedEncoder(Projection(np.eye(STATES, dtype=np.float32)))
    return encoded(collection, options.home, encoder=identity)


def _projected(states: Workload, dim: int) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Documents' token vectors end to end, and each query's, projected unless all dimensions are kept."""
    from colsearch.encoders.projection import load_projection

    if dim == STATES:
        return states.docs.astype(np.float32), states.queries
    matrix = load_projection().truncated(dim).matrix
    vectors = np.empty((len(states.docs), dim), np.float32)
    for first in range(0, len(vectors), 1 << 16):
        rows = slice(first, first + (1 << 16))
        vectors[rows] = _unit(states.docs[rows].astype(np.float32) @ matrix)
    return vectors, [_unit(query @ matrix) for query in states.queries]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _search(
    vectors: NDArray[np.float32],
    states: Workload,
    queries: Sequence[NDArray[np.float32]],
    planes: tuple[int, ...],
    options: Options,
) -> tuple[list[list[int]], Row]:
    """The best documents of each query by a scan of the codes, and the cost of the scan."""
    import colsearch_kernels
    from colsearch.codec.rotated import RotatedCodec

    codec = RotatedCodec(vectors.shape[1], planes)
    code = codec.encode(vectors)
    codes = colsearch_kernels.Codes(codec.dim, planes, code.planes, code.widths, states.offsets)
    found, cpu_ms = [], []
    for query in queries:
        started = time.process_time()
        best, _ = colsearch_kernels.top_k(
            codec.prepare_query(query), codes, DEPTH, n_planes=1, n_threads=options.threads
        )
        if len(planes) > 1:
            finest, _ = colsearch_kernels.top_k(
                codec.prepare_query(query), codes, N_RESCORED, ordinals=best[:N_RESCORED]
            )
            best = np.concatenate([finest, best[N_RESCORED:]])
        cpu_ms.append((time.process_time() - started) * 1e3)
        found.append(best.tolist())
    plane_bytes = bytes_of_planes(code)
    return found, {
        "memory_bytes": plane_bytes[0],
        "disk_bytes": sum(plane_bytes),
        "cpu_median_ms": float(np.median(cpu_ms)),
    }


def _best(scores: NDArray[np.float32]) -> list[list[int]]:
    return [np.argsort(-row, kind="stable")[:DEPTH].tolist() for row in scores]


def _ndcg(collection: Collection, found: Sequence[Sequence[int]]) -> PerQuery:
    """(n_queries,) nDCG@10."""
    ids = list(collection.documents)
    run = {
        query: [(ids[row], 0.0) for row in rows]
        for query, rows in zip(collection.queries, found, strict=True)
    }
    figures = per_query_figures(run, collection.qrels)["ndcg@10"]
    return np.array([figures[query] for query in collection.queries])


def _row(planes: str, dim: int | None, ndcg: PerQuery, baseline: PerQuery) -> Row:
    """A row with the difference to all dimensions in float32, by a paired bootstrap over queries."""
    change: Interval = mean_interval(ndcg - baseline)
    return {
        "dims": dim,
        "planes": planes,
        "ndcg@10": round(float(ndcg.mean()), 4),
        "change": change.rounded()[0],
        "change_interval": change.rounded()[1:],
    }


def _single(collection: Collection, options: Options) -> list[list[int]]:
    """The embedded model as a single-vector model, as it was trained: mean-pooled, cosine."""
    documents, queries = pooled(collection, options.home)
    return _best(queries @ documents.T)


def _lexical(collection: Collection) -> list[list[int]]:
    return bm25_best(list(collection.documents.values()), list(collection.queries.values()), DEPTH)


def _name(planes: tuple[int, ...]) -> str:
    return "+".join(map(str, planes)) + (" bits" if planes != (1,) else " bit")


COLUMNS = {
    "collection": "collection",
    "dims": "dims",
    "planes": "per dimension",
    "memory_bytes": "bytes/token in memory",
    "ndcg@10": "nDCG@10",
    "change": "change (95 % interval)",
    "cpu_median_ms": "scan, CPU ms/query",
}


def table(result: Mapping[str, Any]) -> str:
    def readable(row: Row) -> Row:
        low, high = row["change_interval"]
        return {
            **row,
            "ndcg@10": f"{row['ndcg@10']:.3f}",
            "change": f"{row['change']:+.3f} ({low:+.3f} to {high:+.3f})",
        }

    return markdown_table([readable(row) for row in result["rows"]], COLUMNS)


FIGURE = Figure(
    "frontier",
    claim="the default is the cheapest choice of dims x bits that is not worse than 384 dims in float32",
    minutes=30,
    run=run,
    table=table,
)
