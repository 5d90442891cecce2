"""Run a function in a forked child: if it is killed or hangs, that is a result and does not end the test."""

import gc
import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended.

    Attributes:
        kind: "ok", "raised", "signal" or "timeout".
        value: what the function returned (JSON), the traceback, or the signal's number.
    """

    kind: str
    value: Any

    def unwrap(self) -> Any:
        assert self.kind == "ok", f"child: {self.kind}: {self.value}"
        return self.value


def run_in_child(function: Callable[[], Any], *, seconds: float = SECONDS) -> Outcome:
    """Run a function in a forked child and wait for it.

    Args:
        function: returns something that JSON can hold.
        seconds: the child is killed after this time.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _answer(function, write_end)
    os.close(write_end)
    try:
        return _collected(pid, read_end, time.monotonic() + seconds)
    finally:
        os.close(read_end)


def _answer(function: Callable[[], Any], write_end: int) -> None:
    code = 1
    try:
        # Without this, the garbage collector would write to, and so copy, every page of the parent's objects.
        gc.freeze()
        try:
            answer = {"ok": function()}
        except BaseException:  # noqa: BLE001 the parent shall see whatever it was
            answer = {"raised": traceback.format_exc()}
        data = json.dumps(answer, default=str).encode()
        while data:
            data = data[os.write(write_end, data) :]
        code = 0
    finally:
        # sys.exit would run the parent's exit handlers and flush its buffers twice. Without any exit, the
        # child would go on with the parent's tests.
        os._exit(code)


def _collected(pid: int, read_end: int, deadline: float) -> Outcome:
    data = b""
    while select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(read_end, 1 << 16)
        if not chunk:
            break
        data += chunk
    else:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return Outcome("timeout", None)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Outcome("signal", os.WTERMSIG(status))
    assert data, f"the child ended with {os.waitstatus_to_exitcode(status)} and said nothing"
    [(kind, value)] = json.loads(data).items()
    return Outcome(kind, value)
