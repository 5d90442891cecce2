"""The types of a figure: one file `figure_<name>.py` anywhere under benchmarks/ that defines `FIGURE`."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.result import Row

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Options:
    """The command line's options for a figure.

    Attributes:
        home: folder for vectors, indexes and peers' environments; git-ignored.
        smoke: use tiny data and few repetitions; this shows that the figure runs and measures nothing.
        threads: number of threads of every engine.
        engines: run only these; empty for all.
        data: a folder in BEIR format, for figures that take the user's own collection.
    """

    home: Path
    smoke: bool = False
    seed: int = 0
    threads: int = 1
    engines: tuple[str, ...] = ()
    data: Path | None = None

    def wants(self, engine: str) -> bool:
        return not self.engines or engine in self.engines


@dataclass(frozen=True, slots=True)
class Measured:
    """The output of a figure; `write_result` adds machine, versions, commit and load."""

    rows: Sequence[Row]
    config: Mapping[str, Any]
    notes: Sequence[str] = ()
    skipped: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A claim, and how it is measured and shown.

    Attributes:
        name: names the result file, the README block and the figure on the command line.
        claim: one sentence that the result either confirms or refutes.
        minutes: rough duration of the full run on two cores.
        table: markdown of the README block; None shows every row.
        plot: draws an SVG to the given path; None if the table is enough.
        views: further tables of the same result; a block `NAME/VIEW` shows one.
    """

    name: str
    claim: str
    minutes: float
    run: Callable[[Options], Measured]
    table: Callable[[Mapping[str, Any]], str] | None = None
    plot: Callable[[Mapping[str, Any], Path], None] | None = None
    views: Mapping[str, Callable[[Mapping[str, Any]], str]] = field(default_factory=dict)


def find_figures() -> dict[str, Figure]:
    """Every figure of the suite by name, sorted."""
    figures: dict[str, Figure] = {}
    for path in sorted(HERE.rglob("figure_*.py")):
        module = "benchmarks." + ".".join(path.relative_to(HERE).with_suffix("").parts)
        figure: Figure = importlib.import_module(module).FIGURE
        if figure.name in figures:
            raise ValueError(f"two figures are called {figure.name!r}; the second is {path.name}")
        figures[figure.name] = figure
    return dict(sorted(figures.items()))
