"""All calls at random for a long time in one process, whose memory and open files must not grow."""

import gc
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colsearch import ColIndex
from tests.support import world


@dataclass(frozen=True, slots=True)
class Soaked:
    """Measurements of a process that used an index for some time.

    Attributes:
        n_calls: calls of the index.
        slope_mb_per_hour: growth of resident memory, by least squares over all but the first third.
        growth_mb: growth of resident memory from the end of the first third to the end.
        descriptors: open file descriptors after the first third, and at the end.
    """

    n_calls: int
    slope_mb_per_hour: float
    growth_mb: float
    descriptors: tuple[int, int]


def soak(folder: Path, *, seconds: float, n_calls: int | None = None, seed: int = 0) -> Soaked:
    """Make random calls, open and close readers, and compare every answer with a dict.

    Args:
        seconds: time limit.
        n_calls: stop after this many calls.
    Raises: AssertionError: for a wrong answer.
    """
    rng = np.random.default_rng(seed)
    state: world.State = {}
    samples: list[tuple[float, float, int]] = []
    n_done = 0
    start = time.monotonic()
    index = world.create(folder / "index")
    reader = ColIndex.open(folder / "index", read_only=True, n_threads=1)
    while (elapsed := time.monotonic() - start) < seconds and n_done != n_calls:
        ids: list[str | int] = [f"s{n}" for n in rng.choice(60, int(rng.integers(1, 8)), replace=False)]
        action = int(rng.integers(0, 12))
        if action < 6:
            documents = dict.fromkeys(ids, int(rng.integers(0, 4)))
            world.put(index, documents, replace=True)
            state = {id: version for id, version in state.items() if id not in documents} | documents
        elif action < 8:
            present = [id for id in ids if id in state]
            index.delete(present, purge=action == 7 and rng.random() < 0.1)
            state = {id: version for id, version in state.items() if id not in present}
        elif action == 8:
            index.close()
            index = ColIndex.open(folder / "index", n_threads=1)
        elif action == 9:
            reader.close()
            reader = ColIndex.open(folder / "index", read_only=True, n_threads=2)
        elif action == 10 and rng.random() < 0.2:
            index.compact()
        problem = world.mismatch(reader, state)
        assert problem is None, problem
        n_done += 1
        if n_done % 25 == 0:
            gc.collect()
            samples.append((elapsed, _resident_mb(), len(list(Path("/proc/self/fd").iterdir()))))
    index.close()
    reader.close()
    settled = np.array(samples[len(samples) // 3 :])
    slope = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]) * 3600 if len(settled) > 2 else 0.0
    # The count goes up and down by the files of a segment, so the maxima of two quarters are compared.
    quarter = max(1, len(settled) // 4)
    descriptors = int(settled[:quarter, 2].max()), int(settled[-quarter:, 2].max())
    return Soaked(n_done, slope, float(settled[-1, 1] - settled[0, 1]), descriptors)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
