"""Retrieval quality by ir_measures, with bootstrap intervals over queries."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from benchmarks.protocol import mean_interval
from benchmarks.result import Row

Run: TypeAlias = Mapping[str, Sequence[tuple[str, float]]]
MEASURES = {"ndcg@10": "nDCG@10", "recall@100": "R@100", "mrr@10": "RR@10"}


def quality(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> Row:
    """nDCG@10, recall@100 and MRR@10 over the judged queries, each with its interval.

    Args:
        run: query id -> (document id, score), best first.
    """
    per_query = per_query_figures(run, qrels)
    row: dict[str, object] = {}
    for name, figures in per_query.items():
        interval = mean_interval([figures[query] for query in qrels]).rounded()
        row[name] = interval[0]
        row[f"{name}_interval"] = interval[1:]
    return row


def per_query_figures(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, float]]:
    """A mapping from measure to query to value; a query without hits counts as zero."""
    import ir_measures

    measures = {ir_measures.parse_measure(text): name for name, text in MEASURES.items()}
    judged = [
        ir_measures.Qrel(query, document, grade)
        for query, grades in qrels.items()
        for document, grade in grades.items()
    ]
    # ir_measures sorts by score and breaks ties by id. With ranks as scores it keeps the engine's own order.
    scored = [
        ir_measures.ScoredDoc(query, document, float(-rank))
        for query, hits in run.items()
        for rank, (document, _) in enumerate(hits)
    ]
    figures: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in MEASURES}
    for metric in ir_measures.iter_calc(list(measures), judged, scored):
        figures[measures[metric.measure]][metric.query_id] = float(metric.value)
    return figures
