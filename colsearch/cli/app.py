"""`colsearch`: each command is a thin call on the public API."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from colsearch.config import DEFAULT_RECALL
from colsearch.errors import ColsearchError, ConfigError
from colsearch.formats.documents import Skipped, read_documents, read_queries
from colsearch.formats.trec import read_qrels, read_run, write_run
from colsearch.index import ColIndex
from colsearch.store.check import check_folder
from colsearch.store.repair import repair_folder
from colsearch.types import Hits

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Late-interaction retrieval on an index in a folder."
)

Command = TypeVar("Command", bound=Callable[..., None])
Index = Annotated[Path, typer.Argument(help="folder of the index")]
Json = Annotated[bool, typer.Option("--json", help="machine-readable output")]
K = Annotated[int, typer.Option("-k", help="number of hits")]
Where = Annotated[
    str | None, typer.Option(help="""filter on metadata as JSON, such as '{"year": {"$gte": 2020}}'""")
]
Recall = Annotated[float, typer.Option(help="share of the exact hits to find")]
GroupBy = Annotated[str | None, typer.Option(help="count each value of this field once, such as passage_of")]
Passages = Annotated[
    int | None,
    typer.Option(help="cut texts into passages of so many tokens; search with --group-by passage_of"),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="leave broken lines out, count and list them")]
_USAGE_ERROR = 2


def command(function: Command) -> Command:
    """Register a command whose errors are one sentence on stderr and exit code 2."""
    # `eval` cannot be a function's name here: it is a builtin.
    name = "eval" if function.__name__ == "evaluate" else function.__name__

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except ColsearchError as error:
            typer.echo(f"colsearch: {error}", err=True)
            raise typer.Exit(_USAGE_ERROR) from None

    app.command(name)(guarded)
    return function


@command
def build(
    index: Index,
    source: Annotated[Path, typer.Argument(help="JSONL, BEIR folder, TSV, CSV, or folder of texts")],
    encoder: Annotated[
        str | None, typer.Option(help="hub name or folder; the embedded default if not given")
    ] = None,
    planes: Annotated[str, typer.Option(help="bits per code plane, such as 4,4 or 2")] = "4,4",
    passages: Passages = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Make an index of a corpus."""
    try:
        bits = tuple(int(part) for part in planes.split(","))
    except ValueError:
        raise ConfigError(f"--planes takes numbers such as 4,4, not {planes!r}") from None
    with ColIndex.create(index, encoder, planes=bits) as made:
        _add(made, source, passages, skip_bad, as_json)


@command
def add(
    index: Index, source: Path, passages: Passages = None, skip_bad: SkipBad = False, as_json: Json = False
) -> None:
    """Add the documents of a file or folder to an index; all of them or none."""
    with ColIndex.open(index) as opened:
        _add(opened, source, passages, skip_bad, as_json)


@command
def search(
    index: Index,
    query: Annotated[str | None, typer.Argument(help="the query's text")] = None,
    queries: Annotated[Path | None, typer.Option(help="file of queries; prints a TREC run")] = None,
    k: K = 10,
    where: Where = None,
    recall: Recall = DEFAULT_RECALL,
    exact: Annotated[bool, typer.Option(help="score every document")] = False,
    hybrid: Annotated[bool, typer.Option(help="let the best by BM25 compete as well")] = False,
    group_by: GroupBy = None,
    device: Annotated[str | None, typer.Option(help="score on a torch device, such as cuda")] = None,
    as_json: Json = False,
) -> None:
    """Find the best documents for a query, or for every query of a file."""
    with ColIndex.open(index, read_only=True, device=device) as opened:
        if (query is None) == (queries is None):
            raise ConfigError("give a query, or --queries with a file")
        options: dict[str, Any] = {"where": _filter(where), "recall": recall, "exact": exact}
        options |= {"hybrid": hybrid, "group_by": group_by}
        if query is not None:
            _print_hits(opened.search(query, k, **options), as_json)
            return
        named = list(read_queries(queries or Path()))
        found = opened.search([text for _, text in named], k, **options)
        run = {name: [(str(hit.id), hit.score) for hit in hits] for (name, _), hits in zip(named, found)}
        if as_json:
            _print_json(run)
        else:
            write_run(run, sys.stdout)


@command
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
        for name, documents in read_run(run).items():
            if name not in texts:
                raise ConfigError(f"{run} ranks query {name!r}, which {queries} lacks")
            ids = [document if document in opened else _integer(document) for document in documents]
            reranked[name] = [(str(hit.id), hit.score) for hit in opened.rerank(texts[name], ids, k)]
        if as_json:
            _print_json(reranked)
        else:
            write_run(reranked, sys.stdout)


@command
def explain(
    index: Index,
    query: str,
    document: str,
    html: Annotated[Path | None, typer.Option(help="write an HTML page here")] = None,
    as_json: Json = False,
) -> None:
    """Show which tokens of a document answered the query."""
    from dataclasses import asdict

    from colsearch.query.explain import page

    with ColIndex.open(index, read_only=True) as opened:
        explanation = opened.explain(query, document if document in opened else _integer(document))
    if html is not None:
        html.write_text(page(query, [explanation]), encoding="utf-8")
    if as_json:
        _print_json(asdict(explanation))
    else:
        typer.echo(str(explanation))


@command
def evaluate(
    index: Index,
    collection: Annotated[Path, typer.Argument(help="BEIR folder with queries.jsonl and qrels/")],
    split: str = "test",
    k: K = 100,
    recall: Recall = DEFAULT_RECALL,
    hybrid: Annotated[bool, typer.Option(help="let the best by BM25 compete as well")] = False,
    group_by: GroupBy = None,
    as_json: Json = False,
) -> None:
    """nDCG@10, recall@100 and MRR@10 of an index on judged queries, by ir_measures."""
    from colsearch.evaluation.quality import mean_quality

    qrels = read_qrels(collection / "qrels" / f"{split}.tsv")
    named = [(name, text) for name, text in read_queries(collection) if name in qrels]
    with ColIndex.open(index, read_only=True) as opened:
        found = opened.search([text for _, text in named], k, recall=recall, hybrid=hybrid, group_by=group_by)
    run = {name: [str(hit.id) for hit in hits] for (name, _), hits in zip(named, found)}
    figures = mean_quality(run, qrels)
    if as_json:
        _print_json(figures)
    else:
        for name, value in figures.items():
            typer.echo(f"{name:<12} {value:.4f}")


@command
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
        asked = None if queries is None else [text for _, text in read_queries(queries)]
        measured = opened.audit(asked, k, recall=recall)
    if as_json:
        _print_json(measured.to_json())
    else:
        typer.echo(measured)


@command
def optimize(index: Index) -> None:
    """Fit the prefilter and extend it to all documents, if that is due."""
    with ColIndex.open(index) as opened:
        typer.echo("optimized" if opened.optimize() else "nothing to do")


@command
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
    recall: Annotated[float, typer.Option(help="what to search with")] = DEFAULT_RECALL,
    as_json: Json = False,
) -> None:
    """Query times, recall against exact search, bytes, and what to change."""
    from colsearch.evaluation.bench import bench_index
    from colsearch.evaluation.bench_queries import queries_from_file, queries_from_texts

    with ColIndex.open(index, read_only=True) as opened:
        asked = queries_from_texts(opened, n) if queries is None else queries_from_file(queries)[:n]
        measured = bench_index(opened, asked, k=k, recall=recall)
    if as_json:
        _print_json(measured.to_json() | {"made_queries": queries is None})
        return
    typer.echo(measured)
    if queries is None:
        typer.echo("The queries were made of the index's own texts; --queries FILE measures real ones.")


@command
def info(index: Index, as_json: Json = False) -> None:
    """What an index holds and costs."""
    with ColIndex.open(index, read_only=True) as opened:
        figures = opened.info()
    if as_json:
        _print_json(figures)
        return
    for name, value in figures.items():
        typer.echo(f"{name:<24} {value}")


@command
def check(
    index: Index,
    deep: Annotated[bool, typer.Option(help="also compare SQLite with the segments")] = False,
    repair: Annotated[bool, typer.Option(help="keep what is good, rebuild SQLite from it")] = False,
    as_json: Json = False,
) -> None:
    """Verify every checksum; exit code 1 if something is wrong."""
    report = repair_folder(index) if repair else check_folder(index, deep=deep)
    if as_json:
        _print_json(report.to_json())
    else:
        for line in [*report.repaired, *report.problems]:
            typer.echo(line)
        for id in report.damaged_ids:
            typer.echo(f"{'lost' if repair else 'damaged'}: document {id!r}")
        typer.echo("ok" if report.ok else f"{len(report.problems)} problems")
    if not report.ok:
        raise typer.Exit(1)


@command
def compact(index: Index) -> None:
    """Merge all segments and drop what was deleted."""
    with ColIndex.open(index) as opened:
        opened.compact()


def main() -> None:
    """Entry point of the `colsearch` script."""
    app()


def _add(index: ColIndex, source: Path, passages: int | None, skip_bad: bool, as_json: bool) -> None:
    skipped = Skipped() if skip_bad else None
    n_docs = index.add_documents(read_documents(source, skipped=skipped), passages=passages)
    if as_json:
        left_out = {"skipped": skipped.n, "reasons": skipped.reasons} if skipped else {}
        _print_json({"added": n_docs} | left_out)
        return
    typer.echo(f"{n_docs} documents added")
    if skipped and skipped.n:
        typer.echo(f"{skipped.n} left out:", err=True)
        for reason in skipped.reasons:
            typer.echo(f"  {reason}", err=True)


def _filter(where: str | None) -> dict[str, Any] | None:
    if where is None:
        return None
    try:
        parsed = json.loads(where)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--where is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ConfigError("--where takes a JSON object")
    return parsed


def _integer(text: str) -> str | int:
    return int(text) if text.lstrip("-").isdigit() else text


def _print_hits(hits: Hits, as_json: bool) -> None:
    if as_json:
        _print_json([{"id": h.id, "score": h.score, "text": h.text, "metadata": h.metadata} for h in hits])
        return
    for hit in hits:
        typer.echo(f"{hit.score:9.3f}  {hit.id}  {' '.join((hit.text or '').split())[:100]}")


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))
