"""Commands that put documents into an index: `build` and `add`."""

from pathlib import Path
from typing import Annotated

import typer

from colsearch.cli.options import Index, Json
from colsearch.cli.output import print_json
from colsearch.errors import ConfigError
from colsearch.formats.documents import Skipped, read_documents
from colsearch.index import ColIndex

Passages = Annotated[
    int | None,
    typer.Option(
        help="cut texts into passages of at most this many tokens; search with --group-by passage_of"
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="leave broken lines out, count and list them")]


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
        plane_bits = tuple(int(part) for part in planes.split(","))
    except ValueError:
        raise ConfigError(f"--planes takes numbers such as 4,4, not {planes!r}") from None
    with ColIndex.create(index, encoder, planes=plane_bits) as created:
        _add(created, source, passages, skip_bad, as_json)


def add(
    index: Index, source: Path, passages: Passages = None, skip_bad: SkipBad = False, as_json: Json = False
) -> None:
    """Add the documents of a file or folder to an index; all of them or none."""
    with ColIndex.open(index) as opened:
        _add(opened, source, passages, skip_bad, as_json)


def _add(index: ColIndex, source: Path, passages: int | None, skip_bad: bool, as_json: bool) -> None:
    skipped = Skipped() if skip_bad else None
    n_docs = index.add_documents(read_documents(source, skipped=skipped), passages=passages)
    if as_json:
        left_out = {"skipped": skipped.n, "reasons": skipped.reasons} if skipped else {}
        print_json({"added": n_docs} | left_out)
        return
    typer.echo(f"{n_docs} documents added")
    if skipped and skipped.n:
        typer.echo(f"{skipped.n} left out:", err=True)
        for reason in skipped.reasons:
            typer.echo(f"  {reason}", err=True)
