"""Let the calls of a step fail, one at a time or from one call on, and look at how the step ends."""

import errno
import os
import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path

from colsearch import ColIndex
from colsearch.errors import ColsearchError
from tests.support import ptrace, world
from tests.support.stages import Stage

# The calls that a full disk refuses; it still lets files shrink and vanish.
ALLOCATING = ptrace.WRITES | {"openat", "open", "mkdir", "mkdirat"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A way for system calls to fail.

    Attributes:
        errno: the error of a failing call; 0 shortens the write instead.
        lasting: whether all later calls fail too.
        calls: names of the calls that may fail.
    """

    name: str
    errno: int = 0
    lasting: bool = False
    calls: frozenset[str] = ptrace.MUTATING

    def answer(self, call: ptrace.Call) -> ptrace.Answer:
        return ptrace.Fail(self.errno) if self.errno else ptrace.Shorten(max(1, call.args[2] // 2))


FAULTS = [
    Fault("one I/O error", errno.EIO),
    Fault("one write without room", errno.ENOSPC, calls=frozenset(ALLOCATING)),
    Fault("the disk stays full", errno.ENOSPC, lasting=True, calls=frozenset(ALLOCATING)),
    Fault("the disk fails", errno.EIO, lasting=True),
    Fault("a short write", calls=ptrace.WRITES),
]


def sweep(scratch: Path, stage: Stage, fault: Fault, *, every: int = 1, first: int = 0) -> dict[str, int]:
    """Let one step fail at each of its calls; returns how many times the step ended in each way.

    Raises: AssertionError: if an error is not ours, the state is neither the old nor the new one, or a later
        write fails.
    """
    before, step, state = stage
    ends: dict[str, int] = {}
    number = first
    while True:
        copy = scratch / "failing"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(before, copy)
        watch = Injector(copy, fault, number)
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


class Injector:
    """Watches the calls of a child and makes those of a fault fail, until the child writes to the marker."""

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
