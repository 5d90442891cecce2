"""Index a real collection, search it, measure it, and show why the hits matched: `python -m examples.demo`."""

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

from benchmarks.corpora.beir import Collection, read_collection
from benchmarks.metrics import quality
from colsearch import ColIndex, Hits
from colsearch.query.explain_page import page
from colsearch.types import F32

DATA = Path(__file__).parent / "data"
FOLDER = Path("demo")
N_SHOWN, N_AUDITED = 3, 300


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
    """Quality by ir_measures, time of a search without encoding, and size."""
    texts = list(collection.queries.values())
    tokens = [index.encoder.encode_query([text]).vectors for text in texts]
    searched = {k: [search(index, vectors, k) for vectors in tokens] for k in (10, 100)}
    run = {
        query: [(str(hit.id), hit.score) for hit in hits]
        for query, (hits, _) in zip(collection.queries, searched[100])
    }
    figures = quality(run, collection.qrels)
    info = index.info()
    size = info["bytes_per_token"]
    print(f"\n{len(texts):,} test queries on {info['n_docs']:,} documents, {info['n_tokens']:,} tokens:")
    print(f"  nDCG@10      {figures['ndcg@10']:.3f}")
    print(f"  recall@100   {figures['recall@100']:.3f}")
    for k, found in searched.items():
        milliseconds = sorted(ms for _, ms in found)
        print(
            f"  k={k:<3}        median {statistics.median(milliseconds):.1f} ms without encoding, "
            f"p95 {milliseconds[int(0.95 * len(milliseconds))]:.1f} ms; scored "
            f"{statistics.mean(hits.profile.n_candidates for hits, _ in found if hits.profile):,.0f} documents"
        )
    if info["prefilter"]:
        print(f"  audit        {str(index.audit(tokens[:N_AUDITED])).splitlines()[0]}")
    print(
        f"  bytes/token  {size['memory']} in memory, {size['disk']} on disk, {size['all']} with texts and all"
    )


def search(index: ColIndex, vectors: F32, k: int) -> tuple[Hits, float]:
    """The hits, and the milliseconds that they took."""
    start = time.perf_counter()
    hits = index.search(vectors, k=k, profile=True)
    return hits, (time.perf_counter() - start) * 1e3


def show_hits(index: ColIndex, collection: Collection, page_path: Path) -> None:
    """A few queries with their hits, and an HTML page that takes the best of each apart."""
    explanations = []
    for text in list(collection.queries.values())[:N_SHOWN]:
        hits: Hits = index.search(text, k=3)
        print(f"\n{text}")
        for hit in hits:
            print(f"  {hit.score:6.2f}  {hit.id:<12} {(hit.text or '')[:80]}")
        explanations += [index.explain(text, hit.id) for hit in hits[:1]]
    page_path.write_text(page(f"Why it matched: {collection.name}", explanations), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
