"""Compares two sets of results row by row and prints the numbers that differ."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.render import markdown_table
from benchmarks.result import ResultError, Row

# On a shared machine, timings of the same code vary by this share between runs.
NOISE = 0.05


def compare(old: Path, new: Path) -> int:
    """Print every number that differs by more than the noise, as old, new and new / old."""
    for name, before, after in _pairs(old, new):
        _warn_when_unlike(name, before, after)
        rows = list(changes(before["rows"], after["rows"]))
        print(f"## {name}: {len(rows)} figures differ by more than {NOISE:.0%}\n")
        if rows:
            print(markdown_table(rows))
    return 0


def changes(before: list[Row], after: list[Row]) -> Iterator[Row]:
    """Yield each number that differs by more than the noise.

    Two rows are the same setting if everything but their measured numbers is equal.
    """
    by_setting = {_setting(row): row for row in before}
    for row in after:
        earlier = by_setting.get(_setting(row))
        if earlier is None:
            continue
        for key, value in row.items():
            was = earlier.get(key)
            if not isinstance(value, float) or not isinstance(was, float | int) or not was:
                continue
            if abs(value / was - 1) > NOISE:
                yield {
                    "row": dict(_setting(row)),
                    "figure": key,
                    "old": was,
                    "new": value,
                    "ratio": value / was,
                }


def _setting(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple((key, json.dumps(value, sort_keys=True)) for key, value in row.items() if _is_setting(value))


def _is_setting(value: Any) -> bool:
    """Whether a value belongs to the setting: measured numbers are floats, names, sizes and knobs are not."""
    return isinstance(value, str | int | bool | dict) or value is None


def _pairs(old: Path, new: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    if old.is_file() != new.is_file():
        new = new / old.name if old.is_file() else new
    paths = (
        [(old, new)] if old.is_file() else [(path, new / path.name) for path in sorted(old.glob("*.json"))]
    )
    if not paths:
        raise ResultError(f"no result files in {old}")
    for old_path, new_path in paths:
        if new_path.exists():
            before, after = (json.loads(path.read_text("utf-8")) for path in (old_path, new_path))
            yield old_path.stem, before, after


def _warn_when_unlike(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for key in ("machine", "threads", "config", "seed"):
        if before[key] != after[key]:
            print(f"note: {name}: {key} differs, so the two are not the same experiment")
