"""Renders result files as marked blocks of the pages, and as SVG plots beside the results.

A block is `<!-- benchmarks:NAME -->` ... `<!-- /benchmarks -->`; everything in between is rewritten.
"""

import os.path
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figure import HERE, Figure, find_figures
from benchmarks.result import RESULTS, ResultError, Row, read_result

PAGES = (
    HERE.parent / "README.md",
    HERE / "README.md",
    HERE.parent / "kernels" / "README.md",
    HERE.parent / "docs" / "PREFILTER.md",
    HERE.parent / "docs" / "GPU.md",
    HERE.parent / "docs" / "GUARANTEES.md",
)
CONTENTS = "contents"
BLOCK = re.compile(
    r"(?P<open><!-- benchmarks:(?P<name>[\w-]+)(?:/(?P<view>[\w-]+))? -->\n)"
    r".*?(?P<close><!-- /benchmarks -->)",
    re.S,
)


def render(*, check: bool = False, pages: Sequence[Path] = PAGES, results: Path = RESULTS) -> int:
    """Rewrite every block from its result; with `check` only print stale pages, and return 1 if any."""
    figures = find_figures()
    stale = []
    for page in pages:
        if not page.exists():
            continue
        before = page.read_text(encoding="utf-8")
        after = fill(before, figures, page=page, results=results)
        if after != before:
            stale.append(page)
            if not check:
                page.write_text(after, encoding="utf-8")
    if not check:
        draw_plots(figures, results)
    for page in stale:
        print(f"{page.name}: {'stale; run `python -m benchmarks render`' if check else 'rewritten'}")
    return 1 if check and stale else 0


def fill(text: str, figures: Mapping[str, Figure], *, page: Path, results: Path = RESULTS) -> str:
    """The text with every block filled from its result.

    Raises: ResultError: for a block whose figure or result does not exist.
    """

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name == CONTENTS:
            return match["open"] + "\n" + contents(figures, page, results) + "\n" + match["close"]
        if name not in figures:
            raise ResultError(f"{page.name} has a block for figure {name!r}, which does not exist")
        shown = body(figures[name], read_result(name, results), page, view=match["view"])
        return match["open"] + shown + match["close"]

    return BLOCK.sub(block, text)


def body(figure: Figure, result: Mapping[str, Any], page: Path, *, view: str | None = None) -> str:
    if view is not None and view not in figure.views:
        raise ResultError(f"{page.name} asks for {figure.name}/{view}; there are {sorted(figure.views)}")
    show = figure.table if view is None else figure.views[view]
    table = show(result) if show else markdown_table(result["rows"])
    picture = ""
    if figure.plot:
        svg = Path(os.path.relpath(RESULTS / f"{figure.name}.svg", page.parent)).as_posix()
        picture = f"![{figure.claim}]({svg})\n\n"
    # A view is an extract of the figure. Skipped engines and reasons are shown with the whole figure only.
    footer = provenance(result) if view is None else source(result) + "\n"
    return f"\n{picture}{table}\n{footer}\n"


def contents(figures: Mapping[str, Figure], page: Path, results: Path) -> str:
    """A table of all figures: claim, command, result file and duration."""
    rows = []
    for figure in figures.values():
        path = results / f"{figure.name}.json"
        link = Path(os.path.relpath(path, page.parent)).as_posix()
        result = read_result(figure.name, results) if path.exists() else None
        rows.append(
            {
                "figure": figure.name,
                "claim": figure.claim,
                "command": f"`python -m benchmarks run {figure.name}`",
                "result": f"[{path.name}]({link})" if result else "not run yet",
                "duration": _minutes(result, figure),
            }
        )
    return markdown_table(rows)


def _minutes(result: Mapping[str, Any] | None, figure: Figure) -> str:
    return f"{result['duration_s'] / 60:.1f} min" if result else f"about {figure.minutes:g} min"


def source(result: Mapping[str, Any]) -> str:
    """The command, the machine and the commit of a result."""
    machine = result["machine"]
    return (
        f"<sub>`{result['command']}`, {result['duration_s']:.0f} s, {result['threads']} thread(s), "
        f"seed {result['seed']}, {machine['cpu']} ({machine['n_cpus']} CPUs), "
        f"load {result['load']['before']}, commit {result['commit'][:10]}.</sub>"
    )


def provenance(result: Mapping[str, Any]) -> str:
    """`source`, followed by the notes and the skipped engines."""
    skipped = "; ".join(
        f"{item['engine']} skipped{' on ' + item['workload'] if 'workload' in item else ''}: {item['why']}"
        for item in result["skipped"]
    )
    notes = [*result["notes"], *([skipped] if skipped else [])]
    return "\n\n".join([source(result), *(f"<sub>{note}</sub>" for note in notes)]) + "\n"


def markdown_table(rows: Sequence[Row], columns: Sequence[str] | Mapping[str, str] | None = None) -> str:
    """Rows as a markdown table; `columns` selects columns and, as a mapping from key to title, names them."""
    if not rows:
        return "(no rows)\n"
    keys = list(columns) if columns else list(dict.fromkeys(key for row in rows for key in row))
    titles = [columns[key] for key in keys] if isinstance(columns, Mapping) else keys
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(cell(row.get(key)) for key in keys) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={cell(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " - ".join(cell(item) for item in value)
    return str(value).replace("|", "\\|")


def draw_plots(figures: Mapping[str, Figure], results: Path = RESULTS) -> None:
    for figure in figures.values():
        if figure.plot and (results / f"{figure.name}.json").exists():
            figure.plot(read_result(figure.name, results), results / f"{figure.name}.svg")
