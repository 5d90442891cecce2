"""Recall against latency: every engine with its own search settings, always including its defaults."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, Entrant, cost_at_recall, frontier
from benchmarks.corpora.vectors import workload
from benchmarks.figure import HERE, Figure, Measured, Options
from benchmarks.render import markdown_table
from benchmarks.result import Row

CONFIG = HERE / "configs" / "pareto.json"
OURS = "colsearch"
SMOKE_ENGINES = ("colsearch", "numpy_scan", "faiss_mean", "faiss_muvera")


def run(figure: str, options: Options) -> Measured:
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    config["contests"] = [contest for contest in config["contests"] if contest["figure"] == figure]
    rows: list[Row] = []
    skipped: list[Row] = []
    for contest in config["contests"][: 1 if options.smoke else None]:
        left_out = reasons_to_leave_out(contest, config["engines"], options)
        entrants = [
            Entrant.from_config(engine, fields)
            for engine, fields in config["engines"].items()
            if engine not in left_out
        ]
        opened = Contest(workload(contest["workload"], options), entrants, options.home, options.threads)
        n_queries = 4 if options.smoke else contest["n_queries"]
        rows += opened.run(k=contest["k"], n_queries=n_queries, seed=options.seed)
        left = [{"engine": engine, "why": why} for engine, why in left_out.items()]
        skipped += [{"workload": contest["workload"], **skip} for skip in [*opened.skipped, *left]]
    return Measured([{**row, **against_ours(row, rows)} for row in rows], config, skipped=skipped)


def reasons_to_leave_out(
    contest: Mapping[str, Any], engines: Sequence[str], options: Options
) -> dict[str, str]:
    """A mapping from each engine that is left out to the reason, so that none is missing silently."""
    reasons = dict(contest.get("left_out", {}))
    reasons |= {engine: "not among --engines" for engine in engines if not options.wants(engine)}
    if options.smoke:
        reasons |= {engine: "smoke run" for engine in engines if engine not in SMOKE_ENGINES}
    return reasons


def against_ours(row: Row, rows: Sequence[Row]) -> Row:
    """The cost of this setting divided by ours at the same recall, interpolated on our curve."""
    own = dict(by_contest(rows))[_contest(row)]
    ours = [setting for setting in own if setting["engine"] == OURS]
    measure = f"recall@{row['k']}"
    cost = cost_at_recall(ours, row[measure], measure=measure)
    return {"cpu_ratio_to_ours": row["cpu_median_ms"] / cost if cost else None}


COLUMNS = {
    "engine": "engine",
    "setting": "setting",
    "recall@10": "recall@10",
    "recall@100": "recall@100",
    "ndcg@10": "nDCG@10",
    "cpu_median_ms": "CPU ms",
    "wall_median_ms": "wall ms",
    "wall_p95_ms": "p95",
    "cpu_ratio_to_ours": "CPU / ours at equal recall",
    "memory_mb": "memory MB",
    "disk_bytes_per_token": "disk B/token",
    "build_cpu_s": "build CPU s",
}


def table(result: Mapping[str, Any]) -> str:
    return "\n".join(
        f"**{_title(rows)}**\n\n" + markdown_table(_shown(rows), COLUMNS)
        for _, rows in by_contest(result["rows"])
    )


def by_contest(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, int], list[Row]]]:
    """The rows of each workload and k."""
    for contest in dict.fromkeys(_contest(row) for row in rows):
        yield contest, [row for row in rows if _contest(row) == contest]


def _shown(rows: Sequence[Row]) -> list[Row]:
    """The rows of one contest for a table; nDCG is shown only for engines that answered all queries."""
    n_queries = max(row.get("n_queries", 0) for row in rows)
    return [
        _readable(row if row.get("n_queries", 0) == n_queries else {**row, "ndcg@10": None}) for row in rows
    ]


def _contest(row: Row) -> tuple[str, int]:
    return row["workload"], row["k"]


def _title(rows: Sequence[Row]) -> str:
    return f"{rows[0]['workload']}, {rows[0]['n_docs']:,} documents, k={rows[0]['k']}"


def _readable(row: Row) -> Row:
    build = {key: value for key, value in row["build"].items() if value is not None}
    knobs = ", ".join(f"{key}={value}" for key, value in (build | row["knobs"]).items())
    interval = row["recall@10_interval"]
    return {
        **row,
        "setting": knobs or "default",
        "recall@10": f"{row['recall@10']:.3f} ({interval[0]:.3f}-{interval[1]:.3f})",
    }


SUMMARY = {
    "engine": "engine",
    "setting": "setting",
    "ndcg@10": "nDCG@10",
    "recall@10": "recall@10 of exact",
    "cpu_median_ms": "CPU ms/query",
    "cpu_ratio_to_ours": "CPU / ours at equal recall",
    "memory_mb": "memory MB",
    "disk_bytes_per_token": "disk B/token",
    "build_cpu_s": "build CPU s",
}


def summary(result: Mapping[str, Any]) -> str:
    """Each engine with its defaults, on the contests marked for the first page, or on the first contest."""
    contests = result["config"]["contests"]
    chosen = [contest for contest in contests if contest.get("first_page")] or contests[:1]
    shown = [(contest["workload"], contest["k"]) for contest in chosen]
    rows = [row for row in result["rows"] if not row["knobs"] or row["knobs"] == {"exact": True}]
    return "\n".join(
        f"**{_title(own)}**\n\n" + markdown_table(_shown(own), _filled(own, SUMMARY))
        for contest, own in by_contest(rows)
        if contest in shown
    )


def _filled(rows: Sequence[Row], columns: Mapping[str, str]) -> dict[str, str]:
    """Leave out the columns in which every row is empty."""
    given = {key for row in rows for key, value in _readable(row).items() if value is not None}
    return {key: title for key, title in columns.items() if key in given}


def plot(result: Mapping[str, Any], path: Path) -> None:
    from benchmarks.plot import new_axes, save

    groups = list(by_contest(result["rows"]))
    engines = list(dict.fromkeys(row["engine"] for row in result["rows"]))
    styles = dict(zip(engines, ((f"C{i % 10}", "os^vDP"[i // 10]) for i in range(len(engines)))))
    figure, axes = new_axes(len(groups))
    for axis, ((_, k), rows) in zip(axes, groups):
        measure = f"recall@{k}"
        for engine in dict.fromkeys(row["engine"] for row in rows):
            own = [row for row in rows if row["engine"] == engine]
            color, marker = styles[engine]
            front = zip(*frontier(own, measure=measure))
            axis.plot(*front, marker=marker, color=color, label=engine, linewidth=3 if engine == OURS else 1)
            beaten = [(row[measure], row["cpu_median_ms"]) for row in own]
            axis.scatter(*zip(*beaten), s=10, color=color, alpha=0.4)
        axis.set(
            title=_title(rows), xlabel=f"{measure} of exact MaxSim", ylabel="CPU ms per query", yscale="log"
        )
    handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="upper center", bbox_to_anchor=(0.5, 0), ncols=5)
    save(figure, path)


FIGURE = Figure(
    "pareto",
    claim="at equal recall no engine that could be installed answers with less CPU",
    minutes=40,
    run=partial(run, "pareto"),
    table=table,
    plot=plot,
    views={"summary": summary},
)
