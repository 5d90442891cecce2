"""The steps of the tortured index, each with a copy of the folder before it, and a way to kill one midway."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from colsearch import ColIndex
from tests.support import ptrace, world

# A folder as it was before a step, the step, and what the folder held.
Stage = tuple[Path, world.Step, world.State]


def prepare_stages(folder: Path) -> list[Stage]:
    live = folder / "live"
    state = world.build_base(live)
    stages = []
    for number, step in enumerate(world.STEPS):
        shutil.copytree(live, folder / f"{number}")
        stages.append((folder / f"{number}", step, state))
        with ColIndex.open(live, n_threads=1) as index:
            step.run(index)
        state = step.model(state)
        world.assert_one_of(live, [state])
    return stages


def killed_at(work: Callable[[], None], number: int, *, torn: bool = False) -> bool:
    """Run `work` in a child and kill it before its number-th mutating call, or in the middle of that write.

    Returns: False if the child ended before that.
    """
    seen = -1

    def watch(call: ptrace.Call) -> ptrace.Answer:
        nonlocal seen
        seen += 1
        if seen < number:
            return None
        if torn and call.name in ptrace.WRITES and call.args[2] > 1:
            return ptrace.Shorten(call.args[2] // 2, kill=True)
        return ptrace.KILL

    status = ptrace.trace(work, watch)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed before it was killed"
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
