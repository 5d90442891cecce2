"""Power cuts: every state that the disk may be left in holds all that was acknowledged, and nothing half done.

The calls of the store and of SQLite are recorded once; states are drawn at every call. Then each fsync that the
protocol needs is taken out of the record, and the same states must show the loss: the test can see.
"""

import hashlib
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from colsearch import ColIndex
from colsearch.errors import ColsearchError
from tests.support import ptrace, world
from tests.support.children import run_in_child
from tests.torture.disk_model import Disk
from tests.torture.oplog import Op, record

pytestmark = pytest.mark.skipif(not ptrace.supported(), reason="needs ptrace on x86-64 Linux")


@pytest.fixture(scope="module")
def recorded(memory: Path) -> tuple[Path, list[Op], list[world.State]]:
    return record_workload(memory)


def record_workload(memory: Path) -> tuple[Path, list[Op], list[world.State]]:
    """The folder before, all calls of all steps, and the models after each."""
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
    """Draw states at the calls and look at each different one: how many there were, and what is wrong."""
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
    """Of all names and bytes below the folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.digest()


def test_no_power_cut_loses_what_was_acknowledged_or_shows_half_a_call(scratch, recorded):
    n_states, problems = run_in_child(
        lambda: violations(scratch, *recorded, n_per_call=0.6, seed=1), seconds=600
    ).unwrap()
    assert not problems, f"{len(problems)} of {n_states} states: {problems[0]}"
    assert n_states >= 250, n_states


def without(kind: str, path_ends: tuple[str, ...]) -> Callable[[Op], bool]:
    return lambda op: not (op.kind == kind and op.path.endswith(path_ends))


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(without("fsync", (".tmp",)), id="segment file not fsynced"),
        pytest.param(without("fsync", ("segments",)), id="segment folder not fsynced"),
        pytest.param(without("fsync", ("models",)), id="model folder not fsynced"),
        pytest.param(without("fsync", ("index.sqlite",)), id="SQLite file not fsynced"),
        pytest.param(without("fsync", ("-journal",)), id="SQLite journal not fsynced"),
        pytest.param(without("fsync", (".",)), id="index folder not fsynced"),
    ],
)
def test_a_missing_step_of_the_protocol_is_seen(scratch, recorded, kept):
    before, ops, states = recorded
    fewer = [op for op in ops if kept(op)]
    assert len(fewer) < len(ops), "the protocol has no such step"
    for seed in range(3):
        _, problems = run_in_child(
            lambda: violations(scratch, before, fewer, states, n_per_call=0.3, seed=seed, first_only=True),
            seconds=600,
        ).unwrap()
        if problems:
            return
    pytest.fail("no state shows the missing step")
