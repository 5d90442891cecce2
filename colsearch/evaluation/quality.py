"""Rankings and judgements -> nDCG@10, recall@100 and MRR@10, by ir_measures."""

from collections.abc import Mapping, Sequence

MEASURES = {"ndcg@10": "nDCG@10", "recall@100": "R@100", "mrr@10": "RR@10"}


def mean_quality(
    run: Mapping[str, Sequence[str]], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, float]:
    """Means over all judged queries; a query without hits counts as zero.

    Args:
        run: query id -> document ids, best first.
        qrels: query id -> document id -> relevance.
    """
    import ir_measures

    measures = {name: ir_measures.parse_measure(text) for name, text in MEASURES.items()}
    judged = [
        ir_measures.Qrel(query, document, grade)
        for query, grades in qrels.items()
        for document, grade in grades.items()
    ]
    # ir_measures sorts by score and breaks ties by id; scores made of ranks keep the order given.
    scored = [
        ir_measures.ScoredDoc(query, document, float(-rank))
        for query, documents in run.items()
        for rank, document in enumerate(documents)
    ]
    totals = dict.fromkeys(measures.values(), 0.0)
    for metric in ir_measures.iter_calc(list(measures.values()), judged, scored):
        totals[metric.measure] += metric.value
    n_queries = max(len(qrels), 1)
    return {name: totals[measure] / n_queries for name, measure in measures.items()}
