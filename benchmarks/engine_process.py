"""Starts `worker.py` and talks to it: an engine in a process of its own, so that we can report its crash."""

import json
import os
import select
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.environments import command_for
from benchmarks.figure import HERE
from benchmarks.protocol import ContestantFailedError, Timed

THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("RAYON_NUM_THREADS", "NUMBA_NUM_THREADS", "TOKIO_WORKER_THREADS"),
)

REPLY_LIMIT_S = 300.0


class EngineError(ContestantFailedError):
    """An engine failed at a request, or its process died. The message is reported unchanged."""


class EngineProcess:
    """One engine over one workload; use as a context manager."""

    def __init__(self, engine: str, workload: Path, *, home: Path, n_threads: int) -> None:
        self.engine = engine
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(n_threads)), "PYTHONHASHSEED": "0"}
        command, extra = command_for(engine, home)
        (home / "logs").mkdir(parents=True, exist_ok=True)
        self.log = home / "logs" / f"{engine}.log"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [*command, str(HERE / "worker.py"), engine, str(workload), str(n_threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**environment, **extra},
                text=True,
                encoding="utf-8",
            )
        self.versions: dict[str, str] = self._reply()["versions"]

    def __enter__(self) -> "EngineProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, operation: str, limit_s: float = REPLY_LIMIT_S, **arguments: Any) -> dict[str, Any]:
        """Send a request and return the reply.

        Raises: EngineError: with the engine's own message, the signal that ended it, or the time limit.
        """
        if self.process.stdin is None or self.process.poll() is not None:
            raise self._death()
        try:
            self.process.stdin.write(json.dumps({"operation": operation, **arguments}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise self._death() from error
        return self._reply(limit_s)

    def search(self, query: int, k: int, knobs: dict[str, Any]) -> Timed[dict[str, Any]]:
        reply = self.ask("search", query=query, k=k, knobs=knobs)
        return Timed(reply, reply["wall_ms"], reply["cpu_ms"])

    def rerank(self, query: int, candidates: list[int], knobs: dict[str, Any]) -> Timed[dict[str, Any]]:
        reply = self.ask("rerank", query=query, candidates=candidates, knobs=knobs)
        return Timed(reply, reply["wall_ms"], reply["cpu_ms"])

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def _reply(self, limit_s: float = REPLY_LIMIT_S) -> dict[str, Any]:
        assert self.process.stdout is not None, "the process was started with a pipe"
        ready, _, _ = select.select([self.process.stdout], [], [], limit_s)
        if not ready:
            self.process.kill()
            raise EngineError(f"{self.engine}: no answer within {limit_s:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise self._death()
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise EngineError(f"{self.engine}: {reply['error']}")
        return reply

    def _death(self) -> EngineError:
        code = self.process.wait(timeout=60)
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return EngineError(f"{self.engine}: process died ({how}){': ' + tail[0][:200] if tail else ''}")
