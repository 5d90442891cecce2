"""Commands that measure an index: `eval` (quality), `audit` (recall) and `bench` (times, recall, bytes)."""

from pathlib import Path
from typing import Annotated

import typer

from colsearch.cli.options import GroupBy, Hybrid, Index, Json, K, Recall
from colsearch.cli.output import print_json
from colsearch.config import DEFAULT_RECALL
from colsearch.formats.queries import read_queries
from colsearch.formats.trec import read_qrels
from colsearch.index import ColIndex


def evaluate(
    index: Index,
    collection: Annotated[Path, typer.Argument(help="BEIR folder with queries.jsonl and qrels/")],
    split: str = "test",
    k: K = 100,
    recall: Recall = DEFAULT_RECALL,
    hybrid: Hybrid = False,
    group_by: GroupBy = None,
    as_json: Json = False,
) -> None:
    """Measure nDCG@10, recall@100 and MRR@10 on judged queries, by ir_measures."""
    from colsearch.evaluation.quality import mean_quality

    qrels = read_qrels(collection / "qrels" / f"{split}.tsv")
    judged = [(query_id, text) for query_id, text in read_queries(collection) if query_id in qrels]
    with ColIndex.open(index, read_only=True) as opened:
        hits_per_query = opened.search(
            [text for _, text in judged], k, recall=recall, hybrid=hybrid, group_by=group_by
        )
    run = {query_id: [str(hit.id) for hit in hits] for (query_id, _), hits in zip(judged, hits_per_query)}
    figures = mean_quality(run, qrels)
    if as_json:
        print_json(figures)
        return
    for measure, value in figures.items():
        typer.echo(f"{measure:<12} {value:.4f}")


def audit(
    index: Index,
    queries: Annotated[
        Path | None,
        typer.Option(help="texts (BEIR folder, JSONL, TSV); made of the documents if not given"),
    ] = None,
    k: K = 10,
    recall: Recall = DEFAULT_RECALL,
    as_json: Json = False,
) -> None:
    """Measure recall against exact search, with a confidence interval."""
    with ColIndex.open(index, read_only=True) as opened:
        texts = None if queries is None else [text for _, text in read_queries(queries)]
        figures = opened.audit(texts, k, recall=recall)
    if as_json:
        print_json(figures.to_json())
    else:
        typer.echo(figures)


def bench(
    index: Index,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="texts (BEIR folder, JSONL, TSV) or vectors (.npy); made of the texts if not given"
        ),
    ] = None,
    k: K = 10,
    n: Annotated[int, typer.Option("-n", help="queries at most")] = 200,
    recall: Annotated[float, typer.Option(help="share of the exact hits to search for")] = DEFAULT_RECALL,
    as_json: Json = False,
) -> None:
    """Measure query times, recall against exact search and bytes, and say what to change."""
    from colsearch.evaluation.bench import bench_index
    from colsearch.evaluation.bench_queries import queries_from_file, queries_from_texts

    with ColIndex.open(index, read_only=True) as opened:
        sample = queries_from_texts(opened, n) if queries is None else queries_from_file(queries)[:n]
        figures = bench_index(opened, sample, k=k, recall=recall)
    if as_json:
        print_json(figures.to_json() | {"made_queries": queries is None})
        return
    typer.echo(figures)
    if queries is None:
        typer.echo("The queries were made of the index's own texts; --queries FILE measures real ones.")
