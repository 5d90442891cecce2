"""After a full disk, an I/O error or a short write, the index has the old or the new state and can be used.

The calls of the store and of SQLite fail one at a time, or from one call on until the step is over.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from colsearch.errors import StorageError
from tests.support import ptrace, world
from tests.support.children import run_in_child
from tests.support.stages import Stage, prepare_stages
from tests.torture.disk_faults import FAULTS, Fault, Injector, sweep

pytestmark = pytest.mark.skipif(not ptrace.supported(), reason="needs ptrace on x86-64 Linux")


# The shortest step has 23 calls that a fault may hit, so each fault hits each step at least once.
EVERY = 23


@pytest.fixture(scope="module")
def stages(memory: Path) -> Iterator[list[Stage]]:
    return prepare_stages(memory)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_failing_disk_gives_a_typed_error_and_the_old_state(scratch, stages, fault):
    """Each step fails at some of its calls; steps and faults begin at different ones."""

    def all_stages() -> dict[str, int]:
        total: dict[str, int] = {}
        for number, stage in enumerate(stages):
            first = (5 * number + 4 * FAULTS.index(fault)) % EVERY
            for end, n in sweep(scratch, stage, fault, every=EVERY, first=first).items():
                total[end] = total.get(end, 0) + n
        return total

    ends = run_in_child(all_stages, seconds=600).unwrap()
    assert ends.get("refused", 0) >= 20 or not fault.errno, ends
    assert fault.errno or ends == {"done": ends["done"]}, "a short write is no error"


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_a_failing_fsync_at_every_place_of_every_step_is_an_error_or_made_good(scratch, stages, lasting):
    """The last fsync of a commit is that of the folder, after SQLite has removed its journal there."""
    fault = Fault("a failing fsync", errno.EIO, lasting=lasting, calls=frozenset({"fsync", "fdatasync"}))

    def all_stages() -> dict[str, dict[str, int]]:
        return {stage[1].name: sweep(scratch, stage, fault) for stage in stages if stage[1].name in tried}

    tried = ["add", "delete", "bulk add"]
    ends = run_in_child(all_stages, seconds=900).unwrap()
    for step in tried:
        assert ends[step].get("unsure" if lasting else "done", 0) >= 1, ends
        assert ends[step]["refused"] >= 3, ends


@pytest.mark.parametrize("name", ["EIO", "ENOSPC"])
def test_a_create_that_fails_is_typed_and_can_be_repeated(scratch, name):
    n_refused = 0
    for number in range(200):
        path = scratch / f"{number}"
        watch = Injector(path, Fault(name, getattr(errno, name)), number)

        def child() -> None:
            try:
                world.create(path).close()
            except StorageError:
                os._exit(3)

        status = ptrace.trace(child, watch)
        if not watch.n_failed:
            break
        code = os.waitstatus_to_exitcode(status)
        assert code in {0, 3}, f"an untyped error at call {number} {watch.log}"
        if code == 3:
            n_refused += 1
            run_in_child(lambda: world.create(path).close()).unwrap()
    assert n_refused >= 10
