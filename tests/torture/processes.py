"""Processes that write to one index in turn, and others that read it meanwhile."""

import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from colsearch import ColIndex
from colsearch.errors import IndexLockedError
from tests.support import world

N_IDS = 12
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Limits:
    """When the processes stop.

    Attributes:
        deadline: a time of the monotonic clock.
        n_writes: number of writes by all writers together; None for as many as there is time for.
        written: the number of writes so far, in memory that all processes share.
    """

    deadline: float
    n_writes: int | None
    written: Any

    def count_write(self) -> None:
        with self.written.get_lock():
            self.written.value += 1

    def go_on(self, n_reads: int | None = None) -> bool:
        """Whether a process has more to do; a reader says how many reads it has done."""
        if time.monotonic() >= self.deadline:
            return False
        if self.n_writes is None or self.written.value < self.n_writes:
            return True
        return n_reads is not None and n_reads < self.n_writes / 10


def contend(
    folder: Path, *, seconds: float, n_writes: int | None = None, n_writers: int = 4, n_readers: int = 4
) -> dict[str, Any]:
    """Let writers and readers work on `folder / "index"`; returns counts of their calls, and the problems.

    Every writer owns some documents and writes version after version of them. It notes each finished write in
    a file. A reader that searches later must find that version, or a newer one.

    Args:
        seconds: time limit.
        n_writes: stop after this many writes by all writers, and a tenth as many reads by each reader.
    """
    world.create(folder / "index").close()
    limits = Limits(time.monotonic() + seconds, n_writes, _FORK.Value("q", 0))
    kinds: list[tuple[str, Callable[..., dict[str, Any]]]] = [("writer", _write)] * n_writers
    kinds += [("reader", _read)] * n_readers
    results = _FORK.SimpleQueue()
    processes = [
        _FORK.Process(target=_report, args=(results, kind, work, folder, number, n_writers, limits))
        for number, (kind, work) in enumerate(kinds)
    ]
    for process in processes:
        process.start()
    total: dict[str, Any] = {"problems": []}
    for _ in processes:
        for key, value in results.get().items():
            total[key] = total[key] + value if key in total else value
    for process in processes:
        process.join()
    total["problems"] += [f"a process ended with {p.exitcode}" for p in processes if p.exitcode]
    total["problems"] += _complaints(folder, n_writers, _acknowledged(folder, n_writers))
    with ColIndex.open(folder / "index", n_threads=1) as index:
        total["problems"] += index.check(deep=True).problems
    return total


def _report(results: Any, kind: str, work: Callable[..., dict[str, Any]], *arguments: Any) -> None:
    try:
        results.put(work(*arguments))
    except BaseException:  # noqa: BLE001 the parent shall see whatever it was
        results.put({"problems": [f"{kind}: {traceback.format_exc()}"]})


def _write(folder: Path, number: int, n_writers: int, limits: Limits) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    versions: dict[str, int] = {}
    counts = {"writes": 0, "refused": 0}
    log = os.open(folder / f"acknowledged-{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while limits.go_on():
        chosen = [f"writer{number}-{n}" for n in rng.choice(N_IDS, int(rng.integers(1, 4)), replace=False)]
        documents: world.State = {id: versions.get(id, 0) + 1 for id in chosen}
        try:
            # The lock is held from the first write until the index is closed.
            with ColIndex.open(folder / "index", n_threads=1) as index:
                world.put(index, documents, replace=True)
                if rng.random() < 0.05:
                    index.compact()
        except IndexLockedError:
            counts["refused"] += 1
            time.sleep(float(rng.random()) * 0.01)
            continue
        versions |= {str(id): version for id, version in documents.items()}
        os.write(log, json.dumps(documents).encode() + b"\n")
        counts["writes"] += 1
        limits.count_write()
    os.close(log)
    return counts


def _read(folder: Path, number: int, n_writers: int, limits: Limits) -> dict[str, Any]:
    problems: list[str] = []
    n_reads = 0
    with ColIndex.open(folder / "index", read_only=True, n_threads=1) as index:
        while not problems and limits.go_on(n_reads):
            problems += _complaints(folder, n_writers, _acknowledged(folder, n_writers), index)
            n_reads += 1
    return {"reads": n_reads, "problems": problems}


def _acknowledged(folder: Path, n_writers: int) -> dict[str, int]:
    versions: dict[str, int] = {}
    for number in range(n_writers):
        path = folder / f"acknowledged-{number}"
        # A line without its end is still being written, so it acknowledges nothing yet.
        for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
            if line.endswith("\n"):
                versions |= json.loads(line)
    return versions


def _complaints(
    folder: Path, n_writers: int, before: dict[str, int], index: ColIndex | None = None
) -> list[str]:
    """Hits of one search that no writer wrote, and writes acknowledged `before` it that it does not show."""
    if index is None:
        with ColIndex.open(folder / "index", read_only=True, n_threads=1) as opened:
            return _complaints(folder, n_writers, before, opened)
    hits = index.search(world.QUERY, k=N_IDS * n_writers + 5, exact=True)
    found = {str(hit.id): int(hit.metadata["version"]) for hit in hits}
    problems = [problem for hit in hits if (problem := world.wrong_hit(hit, dict(found)))]
    if len(found) < len(hits):
        problems.append("an id twice among the hits")
    problems += [
        f"{id} is at {found.get(id)}, acknowledged was {version}"
        for id, version in before.items()
        if found.get(id, -1) < version
    ]
    return problems
