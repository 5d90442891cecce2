"""Kill a step with SIGKILL at its calls, and look at what is left."""

import shutil
from pathlib import Path

from colsearch import ColIndex
from tests.support import world
from tests.support.stages import killed_at


def sweep(scratch: Path, before: Path, step: world.Step, state: world.State, *, every: int = 1) -> int:
    """Kill one step at each of its calls, before the call and in the middle of a write.

    Returns: the number of kill points.
    """
    after = step.model(state)
    number = n_points = 0
    while True:
        for torn in (False, True):
            copy = scratch / "killed"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(before, copy)

            def work() -> None:
                with ColIndex.open(copy, n_threads=1) as index:
                    step.run(index)

            if not killed_at(work, number, torn=torn):
                assert number > 0, "the step changed no file"
                return n_points
            n_points += 1
            try:
                state_is_one_of(copy, [state, after])
            except Exception as error:
                raise AssertionError(f"{step.name}, killed at call {number}, torn: {torn}") from error
        number += every


def state_is_one_of(path: Path, states: list[world.State]) -> int:
    """Assert that the index holds one of the states and can be written; returns the number of that state."""
    which = world.assert_one_of(path, states)
    world.assert_writer_works(path, states[which])
    return which
