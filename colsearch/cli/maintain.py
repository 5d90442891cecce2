"""Commands that look after an index: `optimize`, `info`, `check` and `compact`."""

from typing import Annotated

import typer

from colsearch.cli.options import Index, Json
from colsearch.cli.output import print_json
from colsearch.index import ColIndex
from colsearch.store.check import check_folder
from colsearch.store.repair import repair_folder

_DAMAGED = 1


def optimize(index: Index) -> None:
    """Fit the prefilter and extend it to all documents, if that is due."""
    with ColIndex.open(index) as opened:
        typer.echo("optimized" if opened.optimize() else "nothing to do")


def info(index: Index, as_json: Json = False) -> None:
    """Print what an index holds and costs."""
    with ColIndex.open(index, read_only=True) as opened:
        figures = opened.info()
    if as_json:
        print_json(figures)
        return
    for name, value in figures.items():
        typer.echo(f"{name:<24} {value}")


def check(
    index: Index,
    deep: Annotated[bool, typer.Option(help="also compare SQLite with the segments")] = False,
    repair: Annotated[bool, typer.Option(help="keep what is good, rebuild SQLite from it")] = False,
    as_json: Json = False,
) -> None:
    """Verify every checksum; exit code 1 if something is wrong."""
    report = repair_folder(index) if repair else check_folder(index, deep=deep)
    if as_json:
        print_json(report.to_json())
    else:
        for line in [*report.repaired, *report.problems]:
            typer.echo(line)
        for id in report.damaged_ids:
            typer.echo(f"{'lost' if repair else 'damaged'}: document {id!r}")
        typer.echo("ok" if report.ok else f"{len(report.problems)} problems")
    if not report.ok:
        raise typer.Exit(_DAMAGED)


def compact(index: Index) -> None:
    """Merge all segments and drop deleted documents."""
    with ColIndex.open(index) as opened:
        opened.compact()
