"""A record of all changes that a child made to the files of a folder, in order and with their data."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support import ptrace


@dataclass(frozen=True, slots=True)
class Op:
    """One change to the folder.

    Attributes:
        kind: mkdir, create, write, truncate, fsync, rename, unlink, or mark: the child reported its progress.
        path: relative to the folder.
        offset: offset of the data in the file; for truncate, the new size.
        target: the new name of a rename.
    """

    kind: str
    path: str
    offset: int = 0
    data: bytes = b""
    target: str = ""


def record(folder: Path, work: Callable[[Callable[[int], None]], None]) -> list[Op]:
    """Trace `work(mark)` in a child; `mark(n)` says that n calls have returned."""
    recorder = _Recorder(folder.resolve())
    marker = os.open(os.devnull, os.O_WRONLY)
    recorder.marker = marker

    def mark(n_done: int) -> None:
        os.write(marker, json.dumps(n_done).encode())

    status = ptrace.trace(lambda: work(mark), recorder)
    os.close(marker)
    assert status == 0, f"the recorded child failed with status {status}"
    return recorder.ops


class _Recorder:
    def __init__(self, folder: Path) -> None:
        self.ops: list[Op] = []
        self.marker = -1
        self._folder = str(folder)

    def __call__(self, call: ptrace.Call) -> None:
        if call.name == "write" and call.args[0] == self.marker:
            self.ops.append(Op("mark", "", int(call.data())))
            return
        path = call.path()
        if not path.startswith(self._folder) or path.endswith(" (deleted)"):
            return
        name = os.path.relpath(path, self._folder)
        if call.name in ptrace.WRITES:
            self.ops.append(Op("write", name, call.offset(), call.data()))
        elif call.name in {"openat", "open"}:
            self._opened(path, name, call.open_flags())
        elif call.name == "ftruncate":
            self.ops.append(Op("truncate", name, call.args[1]))
        elif call.name in {"fsync", "fdatasync"}:
            self.ops.append(Op("fsync", name))
        elif call.name in {"mkdir", "mkdirat"}:
            self.ops.append(Op("mkdir", name))
        elif call.name in {"unlink", "unlinkat"}:
            if os.path.lexists(path):
                self.ops.append(Op("unlink", name))
        elif call.name in {"rename", "renameat", "renameat2"}:
            self.ops.append(Op("rename", name, target=os.path.relpath(call.target(), self._folder)))
        else:
            raise AssertionError(f"the model of a disk does not know {call.name}")

    def _opened(self, path: str, name: str, flags: int) -> None:
        if not os.path.lexists(path):
            self.ops.append(Op("create", name))
        elif flags & os.O_TRUNC:
            self.ops.append(Op("truncate", name, 0))
