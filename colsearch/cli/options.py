"""The arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Index = Annotated[Path, typer.Argument(help="folder of the index")]
Json = Annotated[bool, typer.Option("--json", help="machine-readable output")]
K = Annotated[int, typer.Option("-k", help="number of hits")]
Recall = Annotated[float, typer.Option(help="share of the exact hits to find")]
Hybrid = Annotated[bool, typer.Option(help="score the best documents by BM25 as well")]
GroupBy = Annotated[
    str | None,
    typer.Option(help="return one hit per value of this metadata field, such as passage_of"),
]
