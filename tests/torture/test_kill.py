"""kill -9 at system calls that change a file: acknowledged writes are there, and no write is half there."""

import json
import os
import shutil
from pathlib import Path

import pytest

from colsearch import ColIndex
from colsearch.errors import IndexNotFoundError
from tests.support import ptrace, world
from tests.support.children import run_in_child
from tests.support.stages import Stage, killed_at, prepare_stages
from tests.torture.kills import state_is_one_of, sweep

pytestmark = pytest.mark.skipif(not ptrace.supported(), reason="needs ptrace on x86-64 Linux")


@pytest.fixture(scope="module")
def stages(memory: Path) -> list[Stage]:
    return prepare_stages(memory)


def test_a_kill_at_any_call_loses_nothing_acknowledged_and_shows_nothing_half_done(scratch, stages):
    n_points = run_in_child(
        lambda: sum(sweep(scratch, *stage, every=12) for stage in stages), seconds=600
    ).unwrap()
    assert n_points >= 200, "the sweep no longer reaches the store's calls"


def test_a_killed_create_leaves_nothing_or_an_empty_index_and_can_be_repeated(scratch):
    number = 0
    while True:
        path = scratch / f"{number}"
        if not killed_at(lambda: world.create(path).close(), number):
            break

        def reopened() -> str:
            try:
                with ColIndex.open(path) as index:
                    return f"{len(index)} documents"
            except IndexNotFoundError:
                world.create(path).close()
                return "created again"

        outcome = run_in_child(reopened)
        assert outcome.value in {"0 documents", "created again"}, (number, outcome)
        number += 1
    assert number > 20, "create was hardly killed"


def test_what_a_killed_call_acknowledged_before_is_there(scratch, stages):
    """A process makes several calls, reports each return through a pipe, and is killed at a system call."""
    folder, _, state = stages[0]
    states = world.states_after(state, world.STEPS)
    for number in range(40, 600, 61):
        copy = scratch / f"{number}"
        shutil.copytree(folder, copy)
        read_end, write_end = os.pipe()

        def work() -> None:
            with ColIndex.open(copy, n_threads=1) as index:
                for done, step in enumerate(world.STEPS, start=1):
                    step.run(index)
                    os.write(write_end, json.dumps(done).encode() + b"\n")

        killed_at(work, number)
        os.close(write_end)
        acknowledged = len(os.read(read_end, 1 << 16).splitlines())
        os.close(read_end)
        outcome = run_in_child(lambda: state_is_one_of(copy, states[acknowledged : acknowledged + 2]))
        assert outcome.kind == "ok", f"killed at call {number} after {acknowledged} calls: {outcome}"
