"""Index a collection, search it, measure it, show why the hits matched: `python -m examples.demo`."""

import argparse
import resource
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colsearch import ColIndex, Hits
from colsearch.evaluation.quality import mean_quality
from colsearch.formats.documents import read_documents
from colsearch.formats.queries import read_queries
from colsearch.formats.trec import read_qrels
from colsearch.query.explain_page import page
from colsearch.types import F32

DATA = Path(__file__).parent / "data"
FOLDER = Path("demo")
N_SHOWN, N_AUDITED = 3, 300


@dataclass(frozen=True)
class Collection:
    """A BEIR folder: document and query texts by id, and query id -> document id -> relevance."""

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="30,815 package descriptions instead of SciFact")
    collection = read_collection(DATA / ("debian" if parser.parse_args().large else "scifact"))
    path = FOLDER / collection.name
    if path.exists():
        print(f"Using the index at {path}; delete the folder to build it again.")
        index = ColIndex.open(path)
    else:
        index = build(path, collection)
    with index:
        report(index, collection)
        page_path = FOLDER / f"explain-{collection.name}.html"
        show_hits(index, collection, page_path)
        print(f"\nWhy these matched: {page_path.absolute().as_uri()}")


def read_collection(folder: Path) -> Collection:
    """Documents, and those queries that have judgements."""
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    return Collection(
        folder.name,
        {str(document.id): document.text or "" for document in read_documents(folder)},
        {query_id: text for query_id, text in read_queries(folder) if query_id in qrels},
        qrels,
    )


def build(path: Path, collection: Collection) -> ColIndex:
    print(f"Indexing {len(collection.documents):,} documents of {collection.name} with the embedded encoder.")
    start = time.perf_counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    index = ColIndex.create(path)
    index.add(collection.documents.values(), ids=collection.documents, progress=True)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"Indexed in {time.perf_counter() - start:.0f} s, on disk at {path}; {peak_mb:,.0f} MB of memory at "
        "most, torch and all."
    )
    return index


def report(index: ColIndex, collection: Collection) -> None:
    """Print quality by ir_measures, times of searches without encoding, and sizes."""
    tokens = [index.encoder.encode_query([text]).vectors for text in collection.queries.values()]
    searches = {k: [search(index, vectors, k) for vectors in tokens] for k in (10, 100)}
    run = {
        query_id: [str(hit.id) for hit in hits]
        for query_id, (hits, _) in zip(collection.queries, searches[100])
    }
    figures = mean_quality(run, collection.qrels)
    info = index.info()
    size = info["bytes_per_token"]
    print(f"\n{len(tokens):,} test queries on {info['n_docs']:,} documents, {info['n_tokens']:,} tokens:")
    print(f"  nDCG@10      {figures['ndcg@10']:.3f}")
    print(f"  recall@100   {figures['recall@100']:.3f}")
    for k, hits_and_times in searches.items():
        milliseconds = sorted(ms for _, ms in hits_and_times)
        n_scored = [hits.profile.n_candidates for hits, _ in hits_and_times if hits.profile]
        print(
            f"  k={k:<3}        median {statistics.median(milliseconds):.1f} ms without encoding, "
            f"p95 {milliseconds[int(0.95 * len(milliseconds))]:.1f} ms; scored "
            f"{statistics.mean(n_scored):,.0f} documents"
        )
    if info["prefilter"]:
        print(f"  audit        {str(index.audit(tokens[:N_AUDITED])).splitlines()[0]}")
    print(
        f"  bytes/token  {size['memory']} in memory, {size['disk']} on disk, {size['all']} with texts and all"
    )


def search(index: ColIndex, vectors: F32, k: int) -> tuple[Hits, float]:
    """The hits, and the milliseconds that the search took."""
    start = time.perf_counter()
    hits = index.search(vectors, k=k, profile=True)
    return hits, (time.perf_counter() - start) * 1e3


def show_hits(index: ColIndex, collection: Collection, page_path: Path) -> None:
    """Print the hits of a few queries, and write an HTML page that explains the best hit of each."""
    explanations = []
    for text in list(collection.queries.values())[:N_SHOWN]:
        hits: Hits = index.search(text, k=3)
        print(f"\n{text}")
        for hit in hits:
            print(f"  {hit.score:6.2f}  {hit.id:<12} {(hit.text or '')[:80]}")
        explanations += [index.explain(text, hit.id) for hit in hits[:1]]
    page_path.write_text(page(f"Why it matched: {collection.name}", explanations), encoding="utf-8")


if __name__ == "__main__":
    main()
