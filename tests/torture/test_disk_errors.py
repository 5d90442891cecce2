"""Disk full, I/O errors, short writes: a typed error and the old state, or the new state; then all goes on.

The calls of the store and of SQLite fail one at a time, and from one call on until the step is over.
"""

import errno
import os
import shutil
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from colsearch import ColIndex
from colsearch.errors import ColsearchError, StorageError
from tests.support import ptrace, world
from tests.support.children import run_in_child
from tests.support.stages import Stage, prepare_stages

pytestmark = pytest.mark.skipif(not ptrace.supported(), reason="needs ptrace on x86-64 Linux")

# What a full disk refuses; it lets files shrink and vanish.
ALLOCATING = ptrace.WRITES | {"openat", "open", "mkdir", "mkdirat"}


@dataclass(frozen=True, slots=True)
class Fault:
    """How calls fail: which ones, with what, and whether all from the chosen one on."""

    name: str
    errno: int = 0
    lasting: bool = False
    calls: frozenset[str] = ptrace.MUTATING

    def answer(self, call: ptrace.Call) -> ptrace.Answer:
        return ptrace.Fail(self.errno) if self.errno else ptrace.Shorten(max(1, call.args[2] // 2))


# The shortest step changes files in 23 calls or more, so that each fault hits each step.
EVERY = 23
FAULTS = [
    Fault("one I/O error", errno.EIO),
    Fault("one write without room", errno.ENOSPC, calls=frozenset(ALLOCATING)),
    Fault("the disk stays full", errno.ENOSPC, lasting=True, calls=frozenset(ALLOCATING)),
    Fault("the disk fails", errno.EIO, lasting=True),
    Fault("a short write", calls=ptrace.WRITES),
]


def sweep(scratch: Path, stage: Stage, fault: Fault, *, every: int = 1, first: int = 0) -> dict[str, int]:
    """Let one step fail at each of its calls; returns how often it ended in which way.

    Raises: AssertionError: for an error without a type, a state that is neither, or a writer that is stuck.
    """
    before, step, state = stage
    ends: dict[str, int] = {}
    number = first
    while True:
        copy = scratch / "failing"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(before, copy)
        watch = _Injector(copy, fault, number)
        read_end, write_end = os.pipe()
        marker = os.open(os.devnull, os.O_WRONLY)
        watch.marker = marker

        def child() -> None:
            try:
                end = _suffer(copy, step, state, marker)
            except BaseException:  # noqa: BLE001 whatever it was, the parent reports it
                end = traceback.format_exc()
            os.write(write_end, end.encode())

        ptrace.trace(child, watch)
        os.close(marker)
        os.close(write_end)
        end = os.read(read_end, 1 << 16).decode()
        os.close(read_end)
        if not watch.n_failed:
            return ends
        assert end in {"refused", "done", "late", "unsure"}, (
            f"{step.name}, {fault.name} at call {number} {watch.log}: {end}"
        )
        ends[end] = ends.get(end, 0) + 1
        number += every


class _Injector:
    def __init__(self, folder: Path, fault: Fault, number: int) -> None:
        self._folder, self._fault, self._number = str(folder), fault, number
        self._seen = -1
        self._over = False
        self.marker = -1
        self.n_failed = 0
        self.log = ""

    def __call__(self, call: ptrace.Call) -> ptrace.Answer:
        if call.name == "write" and call.args[0] == self.marker:
            self._over = True
        if self._over or call.name not in self._fault.calls or not call.path().startswith(self._folder):
            return None
        self._seen += 1
        if self._seen != self._number and not (self._fault.lasting and self._seen > self._number):
            return None
        self.n_failed += 1
        self.log = self.log or f"({call.name} {call.path()})"
        return self._fault.answer(call)


def _suffer(path: Path, step: world.Step, before: world.State, marker: int) -> str:
    after = step.model(before)
    with ColIndex.open(path, n_threads=1) as index:
        try:
            step.run(index)
            end = "done"
        except ColsearchError as error:
            end = "refused"
            message = str(error)
        os.write(marker, b"0")
        if end == "refused" and "the write is done, but a power cut could undo it" in message:
            end = "unsure"
        if end == "refused" and "are deleted, but bytes of them remain" in message:
            index.compact()
            end = "late"
        problem = world.mismatch(index, before if end == "refused" else after)
        assert problem is None, f"{end}, but {problem}"
        if end == "refused":
            step.run(index)
            problem = world.mismatch(index, after)
            assert problem is None, f"the next try: {problem}"
    world.assert_one_of(path, [after])
    world.assert_writer_works(path, after)
    return end


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
    """Also the last of a commit, of the folder from which SQLite has removed its journal: all is written by then."""
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
        watch = _Injector(path, Fault(name, getattr(errno, name)), number)

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
