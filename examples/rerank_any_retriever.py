"""Rerank what another retriever found, a TREC run file, by MaxSim: `python -m examples.rerank_any_retriever`.

The other retriever is BM25 here, on a part of SciFact. The same on the command line, for a run of any system:

    colsearch rerank my_index bm25.trec queries.jsonl > reranked.trec
"""

import tempfile
from itertools import islice
from pathlib import Path

from benchmarks.corpora.beir import read_collection
from benchmarks.lexical import bm25_best
from benchmarks.metrics import quality
from colsearch import ColIndex
from colsearch.formats.trec import read_run, write_run

DATA = Path(__file__).parent / "data" / "scifact"
N_DOCUMENTS, N_QUERIES, DEPTH = 400, 40, 50


def main() -> None:
    collection = read_collection(DATA).head(N_DOCUMENTS, N_QUERIES)
    with tempfile.TemporaryDirectory() as folder:
        run_file = Path(folder) / "bm25.trec"
        with run_file.open("w", encoding="utf-8") as file:
            write_run(lexical(collection.documents, collection.queries), file, tag="bm25")

        found = read_run(run_file)
        with ColIndex.create(Path(folder) / "index") as index:
            index.add(collection.documents.values(), ids=collection.documents)
            reranked = {query: index.rerank(collection.queries[query], ids) for query, ids in found.items()}

    before = {query: [(id, -float(rank)) for rank, id in enumerate(ids)] for query, ids in found.items()}
    after = {query: [(str(hit.id), hit.score) for hit in hits] for query, hits in reranked.items()}
    for name, run in (("BM25", before), ("reranked", after)):
        print(f"{name:<10} nDCG@10 {quality(run, collection.qrels)['ndcg@10']:.3f}")
    for query, hits in islice(reranked.items(), 2):
        print(f"\n{collection.queries[query]}\n  {(hits[0].text or '')[:100]}")


def lexical(documents: dict[str, str], queries: dict[str, str]) -> dict[str, list[tuple[str, float]]]:
    """What BM25 finds, best first."""
    ids = list(documents)
    rows = bm25_best(list(documents.values()), list(queries.values()), DEPTH)
    return {
        query: [(ids[row], -float(rank)) for rank, row in enumerate(best)]
        for query, best in zip(queries, rows)
    }


if __name__ == "__main__":
    main()
