"""MTEB's own evaluator over our search, offline, compared with our own figures for the same hits."""

import logging
from collections.abc import Mapping
from typing import Any

from benchmarks.corpora.beir import Collection, read_collection
from benchmarks.corpora.vectors import folder_of
from benchmarks.figure import Figure, Measured, Options
from benchmarks.metrics import quality
from benchmarks.render import markdown_table
from benchmarks.result import Row

COLLECTION = "scifact"
NAMES = {"ndcg@10": "ndcg_at_10", "recall@100": "recall_at_100", "mrr@10": "mrr_at_10"}
# Largest difference by rounding: MTEB rounds its scores to five digits, we round to four.
ROUNDING = 6e-5


def run(options: Options) -> Measured:
    config = {"collection": COLLECTION}
    try:
        import mteb
    except ImportError:
        return Measured([], config, skipped=[{"engine": "mteb", "why": "not installed; pip install mteb"}])
    logging.getLogger("mteb").setLevel(logging.WARNING)
    collection = read_collection(folder_of(COLLECTION, options), name=COLLECTION)
    if options.smoke:
        collection = collection.head(40, 5)
    theirs, found = _by_mteb(mteb, collection, options)
    # Our figures use the hits that MTEB was given: it asks for more hits than a user does, and such a search
    # scores more candidates.
    ours = quality({query: list(hits.items()) for query, hits in found.items()}, collection.qrels)
    rows: list[Row] = [
        {
            "collection": collection.name,
            "measure": name,
            "by_mteb": float(theirs[mteb_name]),
            "by_us": ours[name],
            "identical": abs(theirs[mteb_name] - ours[name]) <= ROUNDING,
        }
        for name, mteb_name in NAMES.items()
    ]
    return Measured(rows, config, notes=[f"MTEB {mteb.__version__}"])


def _by_mteb(
    mteb: Any, collection: Collection, options: Options
) -> tuple[Mapping[str, float], Mapping[str, Mapping[str, float]]]:
    """MTEB's scores, and the hits that it scored: query -> document -> score, best first."""
    from colsearch.integrations.mteb import ColIndexSearch, retrieval_task

    class Recorded(ColIndexSearch):
        found: Mapping[str, Mapping[str, float]]

        def search(self, *arguments: Any, **options: Any) -> dict[str, dict[str, float]]:
            self.found = super().search(*arguments, **options)
            return dict(self.found)

    task = retrieval_task(collection.name, collection.documents, collection.queries, collection.qrels)
    search = Recorded(options.home / "indexes" / "mteb")
    results = mteb.evaluate(search, tasks=[task], cache=None)
    return results[0].scores["test"][0], search.found


def table(result: Mapping[str, Any]) -> str:
    return markdown_table(
        result["rows"],
        {
            "collection": "collection",
            "measure": "measure",
            "by_mteb": "by MTEB",
            "by_us": "by us",
            "identical": "equal",
        },
    )


FIGURE = Figure(
    "mteb",
    claim="MTEB's evaluator, run offline over our search, gives our own figures",
    minutes=6,
    run=run,
    table=table,
)
