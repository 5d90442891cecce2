"""Stores one run of one figure as a JSON file: the numbers, and the facts needed to question them."""

import datetime
import json
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.machine import (
    commit,
    describe_machine,
    describe_versions,
    load_average,
    warn_when_loaded,
)

RESULTS = Path(__file__).resolve().parent / "results"
RESULT_FORMAT = 1
Row: TypeAlias = Mapping[str, Any]

_SPEED = re.compile(r"_(ns|us|ms|s)$|_per_(cpu_)?s$|_per_second$")
_QUALITY = re.compile(r"^(recall|ndcg|mrr|overlap|identical|max_abs_error|checked)")


class ResultError(ValueError):
    """A result that breaks the suite's own rules."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Records load and start time. Create it before the work, so that they cover the whole run."""

    threads: int = 1
    load_before: float = field(default_factory=load_average)
    started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        warn_when_loaded(self.load_before, n_threads=self.threads)


def write_result(
    figure: str,
    rows: Sequence[Row],
    *,
    watch: Watch,
    seed: int,
    config: Mapping[str, Any],
    notes: Sequence[str] = (),
    skipped: Sequence[Row] = (),
    folder: Path = RESULTS,
) -> Path:
    """Write `folder/<figure>.json` and return its path.

    Args:
        rows: one per measured setting. Keys end in units (`*_ms`, `*_bytes`). A row with a speed needs a
            quality too (`recall@10`, `ndcg@10`, `max_abs_error`, `identical`, `checked`).
        config: the settings of the run.
        skipped: engines that could not be run, each as {"engine": name, "why": reason}.
    Raises: ResultError: if there are no rows, or a speed stands without a quality.
    """
    for row in rows:
        check_row(figure, row)
    if not rows and not skipped:
        raise ResultError(f"{figure}: nothing was measured and nothing was skipped")
    now = datetime.datetime.fromtimestamp(watch.started, tz=datetime.UTC)
    document = {
        "format": RESULT_FORMAT,
        "figure": figure,
        "rows": list(rows),
        "skipped": list(skipped),
        "notes": list(notes),
        "config": dict(config),
        "seed": seed,
        "threads": watch.threads,
        "machine": describe_machine(),
        "versions": describe_versions(),
        "commit": commit(),
        "load": {"before": watch.load_before, "after": load_average()},
        "command": command_line(),
        "started": now.isoformat(timespec="seconds"),
        "duration_s": round(time.time() - watch.started, 1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{figure}.json"
    path.write_text(
        json.dumps(document, indent=1, ensure_ascii=False, default=_plain) + "\n", encoding="utf-8"
    )
    return path


def read_result(figure: str, folder: Path = RESULTS) -> dict[str, Any]:
    """The stored result of a figure.

    Raises: ResultError: if the figure has no result, or one of another format.
    """
    path = folder / f"{figure}.json"
    if not path.exists():
        raise ResultError(f"no result {path.name}; make it with `python -m benchmarks run {figure}`")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if document.get("format") != RESULT_FORMAT:
        raise ResultError(
            f"{path.name} has format {document.get('format')}, this suite reads {RESULT_FORMAT}"
        )
    return document


def check_row(figure: str, row: Row) -> None:
    speeds = [key for key in row if _SPEED.search(key)]
    if speeds and not any(_QUALITY.match(key) for key in row):
        raise ResultError(
            f"{figure}: {speeds[0]} stands without a quality (recall, ndcg, ... or checked) in {row}"
        )


def command_line() -> str:
    """The command that was typed, without this machine's folders."""
    if sys.argv[0].endswith("__main__.py"):
        return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _plain(value: Any) -> Any:
    """Turn NumPy scalars and arrays into JSON values; raise an error for any other type."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not belong in a result")
