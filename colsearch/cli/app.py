"""The program `colsearch`: its list of commands, and how a command reports an error."""

import functools
from collections.abc import Callable
from typing import Any

import typer

from colsearch.cli.build import add, build
from colsearch.cli.maintain import check, compact, info, optimize
from colsearch.cli.measure import audit, bench, evaluate
from colsearch.cli.search import explain, rerank, search
from colsearch.errors import ColsearchError

# In the order of `colsearch --help`.
COMMANDS: dict[str, Callable[..., None]] = {
    "build": build,
    "add": add,
    "search": search,
    "rerank": rerank,
    "explain": explain,
    "eval": evaluate,
    "audit": audit,
    "optimize": optimize,
    "bench": bench,
    "info": info,
    "check": check,
    "compact": compact,
}
_USAGE_ERROR = 2

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Late-interaction retrieval on an index in a folder."
)


def with_errors_on_stderr(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose errors are one sentence on stderr and exit code 2 instead of a traceback."""

    # Typer reads the options from the signature that `wraps` keeps.
    @functools.wraps(command)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except ColsearchError as error:
            typer.echo(f"colsearch: {error}", err=True)
            raise typer.Exit(_USAGE_ERROR) from None

    return guarded


for name, command in COMMANDS.items():
    app.command(name)(with_errors_on_stderr(command))


def main() -> None:
    """Entry point of the `colsearch` script."""
    app()
