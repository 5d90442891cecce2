"""Commands that answer queries: `search`, `rerank` and `explain`."""

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from colsearch.cli.options import GroupBy, Hybrid, Index, Json, K, Recall
from colsearch.cli.output import print_json
from colsearch.config import DEFAULT_RECALL
from colsearch.errors import ConfigError
from colsearch.formats.queries import read_queries
from colsearch.formats.trec import read_run, write_run
from colsearch.index import ColIndex
from colsearch.types import DocId, Hits

# Characters of a hit's text that are printed.
_SHOWN_CHARS = 100
# An integer id has 64 bits, so at most 19 digits.
_INTEGER_ID = re.compile(r"-?\d{1,19}")


def search(
    index: Index,
    query: Annotated[str | None, typer.Argument(help="the query's text")] = None,
    queries: Annotated[Path | None, typer.Option(help="file of queries; prints a TREC run")] = None,
    k: K = 10,
    where: Annotated[
        str | None, typer.Option(help="""filter on metadata as JSON, such as '{"year": {"$gte": 2020}}'""")
    ] = None,
    recall: Recall = DEFAULT_RECALL,
    exact: Annotated[bool, typer.Option(help="score every document")] = False,
    hybrid: Hybrid = False,
    group_by: GroupBy = None,
    device: Annotated[str | None, typer.Option(help="score on a torch device, such as cuda")] = None,
    as_json: Json = False,
) -> None:
    """Find the best documents for a query, or for every query of a file."""
    with ColIndex.open(index, read_only=True, device=device) as opened:
        if (query is None) == (queries is None):
            raise ConfigError("give a query, or --queries with a file")
        options: dict[str, Any] = {"where": _parsed_filter(where), "recall": recall, "exact": exact}
        options |= {"hybrid": hybrid, "group_by": group_by}
        if query is not None:
            _print_hits(opened.search(query, k, **options), as_json)
            return
        texts = list(read_queries(queries or Path()))
        hits_per_query = opened.search([text for _, text in texts], k, **options)
        run = {query_id: _ids_and_scores(hits) for (query_id, _), hits in zip(texts, hits_per_query)}
        _print_run(run, as_json)


def rerank(
    index: Index,
    run: Annotated[Path, typer.Argument(help="TREC run file of any retriever")],
    queries: Annotated[Path, typer.Argument(help="the queries' texts: JSONL, TSV or BEIR folder")],
    k: Annotated[int | None, typer.Option("-k", help="hits per query; all if not given")] = None,
    as_json: Json = False,
) -> None:
    """Order another retriever's hits by MaxSim over the stored vectors; prints a TREC run."""
    with ColIndex.open(index, read_only=True) as opened:
        texts = dict(read_queries(queries))
        reranked = {}
        for query_id, document_ids in read_run(run).items():
            if query_id not in texts:
                raise ConfigError(f"{run} ranks query {query_id!r}, which {queries} lacks")
            ids = [_stored_id(opened, document_id) for document_id in document_ids]
            reranked[query_id] = _ids_and_scores(opened.rerank(texts[query_id], ids, k))
        _print_run(reranked, as_json)


def explain(
    index: Index,
    query: str,
    document: str,
    html: Annotated[Path | None, typer.Option(help="write an HTML page to this file")] = None,
    as_json: Json = False,
) -> None:
    """Show which tokens of a document answered the query."""
    from dataclasses import asdict

    from colsearch.query.explain_page import page

    with ColIndex.open(index, read_only=True) as opened:
        explanation = opened.explain(query, _stored_id(opened, document))
    if html is not None:
        html.write_text(page(query, [explanation]), encoding="utf-8")
    if as_json:
        print_json(asdict(explanation))
    else:
        typer.echo(str(explanation))


def _parsed_filter(where: str | None) -> dict[str, Any] | None:
    if where is None:
        return None
    try:
        parsed = json.loads(where)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--where is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ConfigError("--where takes a JSON object")
    return parsed


def _stored_id(index: ColIndex, typed: str) -> DocId:
    """The id as the index stores it: the string, or the integer if the index lacks that string."""
    return int(typed) if typed not in index and _INTEGER_ID.fullmatch(typed) else typed


def _ids_and_scores(hits: Hits) -> list[tuple[str, float]]:
    return [(str(hit.id), hit.score) for hit in hits]


def _print_run(run: dict[str, list[tuple[str, float]]], as_json: bool) -> None:
    if as_json:
        print_json(run)
    else:
        write_run(run, sys.stdout)


def _print_hits(hits: Hits, as_json: bool) -> None:
    if as_json:
        print_json([{"id": h.id, "score": h.score, "text": h.text, "metadata": h.metadata} for h in hits])
        return
    for hit in hits:
        typer.echo(f"{hit.score:9.3f}  {hit.id}  {' '.join((hit.text or '').split())[:_SHOWN_CHARS]}")
