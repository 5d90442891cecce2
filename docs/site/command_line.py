"""Sphinx extension: the directive `commands` shows what `colsearch COMMAND --help` prints, command by command."""

import os

# Typer reads this when it is imported: plain text, without rich's boxes.
os.environ["TYPER_USE_RICH"] = "0"

from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from typer.testing import CliRunner

from colsearch.cli.app import app as commands

_WIDTH = 100


class Commands(SphinxDirective):
    """A section per command, in the order of `colsearch --help`."""

    def run(self) -> list[nodes.Node]:
        overview = nodes.literal_block("", help_of([]), language="text")
        return [overview, *(_section(str(command.name)) for command in commands.registered_commands)]


def help_of(command: list[str]) -> str:
    """What `colsearch COMMAND --help` prints."""
    result = CliRunner().invoke(
        commands, [*command, "--help"], prog_name="colsearch", terminal_width=_WIDTH, max_content_width=_WIDTH
    )
    if result.exit_code:
        raise RuntimeError(f"colsearch {' '.join(command)} --help failed: {result.output}")
    return result.output.strip()


def _section(name: str) -> nodes.section:
    title = f"colsearch {name}"
    section = nodes.section(ids=[nodes.make_id(title)], names=[title])
    section += nodes.title(title, title)
    section += nodes.literal_block("", help_of([name]), language="text")
    return section


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
