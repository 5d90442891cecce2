"""Record the calls of all steps, and look at states that a power cut may leave a disk in."""

import hashlib
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from colsearch import ColIndex
from colsearch.errors import ColsearchError
from tests.support import world
from tests.torture.disk_model import Disk
from tests.torture.oplog import Op, record


def record_workload(memory: Path) -> tuple[Path, list[Op], list[world.State]]:
    """Run all steps; returns the folder before them, all their calls, and the states after each."""
    before, live = memory / "before", memory / "live"
    state = world.build_base(before)
    shutil.copytree(before, live)

    def work(mark: Callable[[int], None]) -> None:
        with ColIndex.open(live, n_threads=1) as index:
            for done, step in enumerate(world.STEPS, start=1):
                step.run(index)
                mark(done)

    ops = record(live, work)
    assert sum(op.kind == "mark" for op in ops) == len(world.STEPS)
    return before, ops, world.states_after(state, world.STEPS)


def violations(
    memory: Path,
    before: Path,
    ops: Iterable[Op],
    states: list[world.State],
    *,
    n_per_call: float,
    seed: int,
    first_only: bool = False,
) -> tuple[int, list[str]]:
    """Draw disk states at the calls and check each different one.

    Args:
        n_per_call: mean number of states drawn at each call.
    Returns: the number of different states, and the problems.
    """
    rng = random.Random(seed)
    disk, n_done, n_states, problems = Disk(before), 0, 0, []
    seen: set[tuple[int, bytes]] = set()
    for number, op in enumerate(ops):
        if op.kind == "mark":
            n_done = op.offset
        disk.apply(op)
        for _ in range(int(n_per_call) + (rng.random() < n_per_call % 1)):
            crashed = memory / "crashed"
            shutil.rmtree(crashed, ignore_errors=True)
            crashed.mkdir()
            disk.crash(rng, crashed)
            if (key := (n_done, fingerprint(crashed))) in seen:
                continue
            seen.add(key)
            n_states += 1
            try:
                allowed = states[n_done : n_done + 2]
                world.assert_writer_works(crashed, allowed[world.assert_one_of(crashed, allowed)])
            except (AssertionError, ColsearchError) as error:
                problems.append(
                    f"after call {number} ({op.kind} {op.path}), {n_done} acknowledged: {error!r:.1000}"
                )
                if first_only:
                    return n_states, problems
    return n_states, problems


def fingerprint(folder: Path) -> bytes:
    """A hash of all names and bytes in the folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.digest()
