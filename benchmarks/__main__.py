"""`python -m benchmarks list | run FIGURE... | render | compare OLD [NEW] | peers ...`"""

import argparse
import os
import sys
from pathlib import Path

# Set before NumPy loads: idle BLAS threads spin, and CPU time would include that.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.compare import compare
from benchmarks.environments import NotInstalledError, command_for, environments, install
from benchmarks.figure import Figure, Options, find_figures
from benchmarks.render import render
from benchmarks.result import RESULTS, ResultError, Watch, write_result

DEFAULT_HOME = Path(os.environ.get("COLSEARCH_BENCH_HOME", ".benchmarks"))


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="print every figure, its claim and its duration")
    listing.set_defaults(command=list_figures)

    run = commands.add_parser("run", help="measure figures and write one result file each")
    run.add_argument("figures", nargs="+", metavar="FIGURE", help="names from `list`, or `all`")
    run.add_argument("--smoke", action="store_true", help="tiny data: shows that it runs, measures nothing")
    run.add_argument("--threads", type=int, default=1)
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--engines", default="", help="comma-separated; all by default")
    run.add_argument("--data", type=Path, help="your own collection: a folder in BEIR format")
    run.add_argument("--home", type=Path, default=DEFAULT_HOME, help="vectors, indexes, environments")
    run.add_argument("--results", type=Path, default=RESULTS, help="where the result files go")
    run.set_defaults(command=run_figures)

    rendering = commands.add_parser("render", help="rewrite the marked blocks and plots from the results")
    rendering.add_argument(
        "--check", action="store_true", help="change nothing; fail if something would change"
    )
    rendering.set_defaults(command=lambda options: render(check=options.check))

    comparing = commands.add_parser("compare", help="compare two folders or files of results, row by row")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path, nargs="?", default=RESULTS)
    comparing.set_defaults(command=lambda options: compare(options.old, options.new))

    peers = commands.add_parser("peers", help="other engines, each in an environment of its own")
    peers.add_argument("action", choices=("list", "install"))
    peers.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    peers.add_argument("--home", type=Path, default=DEFAULT_HOME)
    peers.set_defaults(command=manage_peers)
    return top


def manage_peers(options: argparse.Namespace) -> int:
    """List or install peers; if one cannot be installed, print why and go on with the others."""
    n_failed = 0
    for name in options.names or environments():
        try:
            if options.action == "install":
                install(name, options.home.resolve())
            command_for(name, options.home.resolve())
            print(f"{name}: installed")
        except NotInstalledError as error:
            n_failed += 1
            print(f"{name}: {error}")
    return 1 if n_failed and options.action == "install" else 0


def list_figures(_: argparse.Namespace) -> None:
    for figure in find_figures().values():
        print(f"{figure.name:20} {figure.minutes:5g} min  {figure.claim}")


def run_figures(options: argparse.Namespace) -> None:
    figures = find_figures()
    names = list(figures) if options.figures == ["all"] else options.figures
    for name in names:
        if name not in figures:
            raise ResultError(f"no figure {name!r}; there are {', '.join(figures)}")
    if options.smoke and options.results == RESULTS:
        raise ResultError("--smoke measures nothing, so give --results FOLDER for its results")
    for name in names:
        print(f"{name}: {run_one(figures[name], options)}")


def run_one(figure: Figure, options: argparse.Namespace) -> Path:
    watch = Watch(threads=options.threads)
    measured = figure.run(
        Options(
            home=options.home.resolve(),
            smoke=options.smoke,
            seed=options.seed,
            threads=options.threads,
            engines=tuple(filter(None, options.engines.split(","))),
            data=options.data,
        )
    )
    return write_result(
        figure.name,
        measured.rows,
        watch=watch,
        seed=options.seed,
        config=measured.config,
        notes=measured.notes,
        skipped=measured.skipped,
        folder=options.results,
    )


if __name__ == "__main__":
    sys.exit(main())
