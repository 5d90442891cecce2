"""Recall against latency on synthetic vectors: long queries, 10 and 100 hits."""

from functools import partial

from benchmarks.figure import Figure
from benchmarks.figures.figure_pareto import plot, run, summary, table

FIGURE = Figure(
    "pareto-synthetic",
    claim="the claim of pareto also holds for long queries on synthetic 128-dim vectors, at 10 and 100 hits",
    minutes=20,
    run=partial(run, "pareto-synthetic"),
    table=table,
    plot=plot,
    views={"summary": summary},
)
