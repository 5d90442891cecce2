"""The long form of the torture tests: `python -m tests.torture --full`, to be run in the background.

Every part runs the code of a test with larger numbers, in units. Each finished unit adds a line to the log;
a run that was stopped resumes after the last finished unit. `--share 0.1` runs a tenth of each part,
`--only NAME` runs one part. Without `--full`, it prints what the log holds.
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.support import world
from tests.support.children import run_in_child
from tests.support.memory import MEMORY_FOLDER
from tests.support.stages import prepare_stages
from tests.torture import damage_cases, disk_faults, kills, power_cuts, random_calls
from tests.torture.fuzz import N_EXECUTIONS, fuzz, targets
from tests.torture.processes import contend
from tests.torture.soak import soak
from tests.torture.subject import Subject

# Counts by name, and the problems found.
Result = tuple[Mapping[str, float], list[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """One row of the table.

    Attributes:
        to_reach: the goal, in words.
        n_units: number of units in the full form.
        run: runs one unit, in a folder of its own.
    """

    name: str
    to_reach: str
    n_units: int
    run: Callable[[Path, int], Result]


def kill(folder: Path, unit: int) -> Result:
    stages = prepare_stages(folder)
    return {"kill points": kills.sweep(folder, *stages[unit])}, []


def power_loss(folder: Path, unit: int) -> Result:
    recorded = power_cuts.record_workload(folder)
    n_states, problems = power_cuts.violations(folder, *recorded, n_per_call=1.0, seed=1000 + unit)
    return {"states": n_states}, problems


def disk_errors(folder: Path, unit: int) -> Result:
    stages = prepare_stages(folder)
    stage, fault = divmod(unit, len(disk_faults.FAULTS))
    return disk_faults.sweep(folder, stages[stage], disk_faults.FAULTS[fault], every=2), []


def damage(folder: Path, unit: int) -> Result:
    numbers = range(10_000 + 500 * unit, 10_000 + 500 * (unit + 1))
    ends, wrong = damage_cases.run_cases(numbers, Subject(folder), folder)
    return {"cases": sum(ends.values()), **ends}, wrong


def fuzzing(folder: Path, unit: int) -> Result:
    names = list(N_EXECUTIONS)
    name = names[unit % len(names)]
    n = 25 * N_EXECUTIONS[name]
    first = n * (1 + unit)
    return {"executions": n, name: n}, fuzz(dict(targets(folder))[name], range(first, first + n))


def stateful(folder: Path, unit: int) -> Result:
    random_calls.run(50, 50, seed=unit)
    return {"runs of 50 steps": 50}, []


def processes(folder: Path, unit: int) -> Result:
    total = contend(folder, seconds=60)
    return {key: value for key, value in total.items() if key != "problems"}, total["problems"]


def soaking(folder: Path, unit: int) -> Result:
    soaked = soak(folder, seconds=3600, seed=unit)
    found = asdict(soaked)
    found["descriptors"] = soaked.descriptors[1] - soaked.descriptors[0]
    slope = soaked.slope_mb_per_hour
    return found, [f"memory grows by {slope:.1f} MB an hour"] if slope >= 10 else []


PARTS = [
    Part("kill", "1,000 kill points, none loses or mixes", len(world.STEPS), kill),
    Part("power loss", "10,000 states, no violation", 24, power_loss),
    Part("disk errors", "all typed, old state intact", 50, disk_errors),
    Part("damage", "10,000 cases, all found or harmless", 20, damage),
    Part("fuzzing", "10 M executions", 9, fuzzing),
    Part("stateful", "2,000 runs of 50 steps", 40, stateful),
    Part("processes", "4 writers and 4 readers, 10 minutes", 10, processes),
    Part("soak", "60 minutes, less than 10 MB an hour", 1, soaking),
]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="run what the log does not hold yet")
    parser.add_argument("--only", choices=[part.name for part in PARTS], help="one part")
    parser.add_argument("--share", type=float, default=1.0, help="of each part's units, at least one")
    parser.add_argument("--log", type=Path, default=Path("torture.jsonl"))
    options = parser.parse_args()
    # Otherwise the index would log a warning for every file that is damaged on purpose.
    logging.getLogger("colsearch").setLevel(logging.ERROR)
    parts = [part for part in PARTS if options.only in (None, part.name)]
    if options.full:
        done = {(line["part"], line["unit"]) for line in _lines(options.log)}
        for part in parts:
            for unit in range(max(1, round(part.n_units * options.share))):
                if (part.name, unit) not in done:
                    _run(part, unit, options.log)
    return _print_table(parts, list(_lines(options.log)))


def _run(part: Part, unit: int, log: Path) -> None:
    folder = Path(
        tempfile.mkdtemp(prefix="colsearch-torture-", dir=MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None)
    )
    start = time.monotonic()
    try:
        outcome = run_in_child(lambda: part.run(folder, unit), seconds=7200)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    counts, problems = outcome.value if outcome.kind == "ok" else ({}, [f"{outcome.kind}: {outcome.value}"])
    line = {
        "part": part.name,
        "unit": unit,
        "seconds": round(time.monotonic() - start, 1),
        "counts": counts,
        "problems": problems,
    }
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line)[:400], flush=True)


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    if log.exists():
        yield from map(json.loads, log.read_text(encoding="utf-8").splitlines())


def _print_table(parts: list[Part], lines: list[dict[str, Any]]) -> int:
    n_problems = 0
    for part in parts:
        own = [line for line in lines if line["part"] == part.name]
        counts: Counter[str] = Counter()
        for line in own:
            counts.update(line["counts"])
        problems = [problem for line in own for problem in line["problems"]]
        n_problems += len(problems)
        figures = ", ".join(f"{value:,.4g} {name}" if value < 1000 else f"{value:,.0f} {name}" for name, value in counts.items())  # fmt: skip
        print(f"{part.name}: {len(own)} of {part.n_units} units, {sum(line['seconds'] for line in own):,.0f} s: "
              f"{figures}; {len(problems)} problems (to reach: {part.to_reach})")  # fmt: skip
        for problem in problems[:5]:
            print(f"  {problem[:300]}")
    return 1 if n_problems else 0


if __name__ == "__main__":
    sys.exit(main())
