"""Rerank another retriever's hits, a TREC run file, by MaxSim: `python -m examples.rerank_any_retriever`.

The other retriever is BM25 by SQLite, on a part of SciFact. On the command line, for a run of any system:

    colsearch rerank my_index bm25.trec queries.jsonl > reranked.trec
"""

import re
import sqlite3
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from colsearch import ColIndex
from colsearch.evaluation.quality import mean_quality
from colsearch.formats.documents import read_documents
from colsearch.formats.queries import read_queries
from colsearch.formats.trec import read_qrels, read_run, write_run

DATA = Path(__file__).parent / "data" / "scifact"
N_DOCUMENTS, N_QUERIES, DEPTH = 400, 40, 50


def main() -> None:
    qrels = read_qrels(DATA / "qrels" / "test.tsv")
    judged = (query for query in read_queries(DATA) if query[0] in qrels)
    queries = dict(islice(judged, N_QUERIES))
    qrels = {query_id: qrels[query_id] for query_id in queries}
    documents = read_part({document_id for judgements in qrels.values() for document_id in judgements})
    with tempfile.TemporaryDirectory() as folder:
        run_file = Path(folder) / "bm25.trec"
        with run_file.open("w", encoding="utf-8") as file:
            write_run(bm25(documents, queries), file, tag="bm25")

        before = read_run(run_file)
        with ColIndex.create(Path(folder) / "index") as index:
            index.add(documents.values(), ids=documents)
            reranked = {query_id: index.rerank(queries[query_id], ids) for query_id, ids in before.items()}

    after = {query_id: [str(hit.id) for hit in hits] for query_id, hits in reranked.items()}
    for name, run in (("BM25", before), ("reranked", after)):
        print(f"{name:<10} nDCG@10 {mean_quality(run, qrels)['ndcg@10']:.3f}")
    for query_id, hits in islice(reranked.items(), 2):
        print(f"\n{queries[query_id]}\n  {(hits[0].text or '')[:100]}")


def read_part(relevant: set[str]) -> dict[str, str]:
    """N_DOCUMENTS texts by id: all relevant ones, and the first of the others."""
    n_others = N_DOCUMENTS - len(relevant)
    documents = {}
    for document in read_documents(DATA):
        if document.id in relevant or n_others > 0:
            n_others -= document.id not in relevant
            documents[str(document.id)] = document.text or ""
    return documents


def bm25(documents: Mapping[str, str], queries: Mapping[str, str]) -> dict[str, list[tuple[str, float]]]:
    """Query id -> ids and scores of the documents that share a word with it, best first."""
    database = sqlite3.connect(":memory:")
    database.execute(
        "CREATE VIRTUAL TABLE texts USING fts5(id UNINDEXED, text, tokenize = 'porter unicode61')"
    )
    database.executemany("INSERT INTO texts VALUES (?, ?)", documents.items())
    run = {}
    for query_id, text in queries.items():
        any_word = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", text))
        # SQLite's bm25() is lower for better documents.
        run[query_id] = database.execute(
            "SELECT id, -bm25(texts) FROM texts WHERE texts MATCH ? ORDER BY bm25(texts), rowid LIMIT ?",
            (any_word, DEPTH),
        ).fetchall()
    return run


if __name__ == "__main__":
    main()
