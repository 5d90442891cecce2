"""Runs one engine in that engine's own interpreter; needs NumPy and the engine, but not colsearch.

Each line of standard input is a JSON request, and each line of standard output is its reply. Queries are read
from the workload's files beforehand, so that only the engine's call is timed.
"""

import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

from benchmarks.workload import Workload, read_workload  # noqa: E402


class Session:
    """The engine, the workload and the opened index of one worker process."""

    def __init__(self, adapter: ModuleType, workload: Workload, n_threads: int) -> None:
        self.adapter, self.workload, self.n_threads = adapter, workload, n_threads
        self.engine: Any = None

    def build(self, folder: str, settings: dict[str, Any]) -> dict[str, Any]:
        before = memory()["peak_bytes"]
        clock = Clock()
        self.adapter.build(Path(folder), self.workload, n_threads=self.n_threads, **settings)
        return {
            **clock.read(),
            "disk_bytes": disk_bytes(Path(folder)),
            "peak_before_bytes": before,
            **memory(),
        }

    def load(self, folder: str, settings: dict[str, Any]) -> dict[str, Any]:
        before = memory()
        clock = Clock()
        self.engine = self.adapter.Engine(Path(folder), self.workload, n_threads=self.n_threads, **settings)
        return {
            **clock.read(),
            "resident_before_bytes": before["resident_bytes"],
            "private_before_bytes": before["private_bytes"],
            **memory(),
        }

    def search(self, query: int, k: int, knobs: dict[str, Any]) -> dict[str, Any]:
        vectors = self.workload.queries[query]
        clock = Clock()
        ids, scores = self.engine.search(vectors, k, **knobs)
        times = clock.read()
        return {**times, "ids": [int(i) for i in ids], "scores": [float(s) for s in scores]}

    def rerank(self, query: int, candidates: list[int], knobs: dict[str, Any]) -> dict[str, Any]:
        """Score candidates; `prepare` (for kernels without an index) collects their vectors untimed."""
        wanted = np.asarray(candidates, np.int64)
        vectors = self.workload.queries[query]
        prepared = self.engine.prepare(wanted) if hasattr(self.engine, "prepare") else wanted
        clock = Clock()
        scores = self.engine.rerank(vectors, prepared, **knobs)
        return {**clock.read(), "scores": [float(score) for score in scores]}

    def counters(self) -> dict[str, Any]:
        """The engine's own counters of its last query (candidates, bytes read), if it has any."""
        return dict(self.engine.counters()) if hasattr(self.engine, "counters") else {}

    def memory(self) -> dict[str, Any]:
        return memory()


class Clock:
    """Measures wall time, and CPU time of the whole process with its children."""

    def __init__(self) -> None:
        self.wall, self.cpu, self.children = time.perf_counter(), time.process_time(), _children()

    def read(self) -> dict[str, float]:
        wall = time.perf_counter() - self.wall
        cpu = time.process_time() - self.cpu + (_children() - self.children)
        return {"wall_ms": wall * 1e3, "cpu_ms": cpu * 1e3}


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def memory() -> dict[str, int]:
    """Resident bytes at present (in total, private, and mapped from files) and at the peak."""
    # getrusage's peak is no use here: it starts at the peak of the parent process.
    names = {
        "VmRSS": "resident_bytes",
        "RssAnon": "private_bytes",
        "RssFile": "mapped_bytes",
        "VmHWM": "peak_bytes",
    }
    sizes = dict.fromkeys(names.values(), 0)
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name in names:
                sizes[names[name]] = int(value.split()[0]) * 1024
    return sizes


def disk_bytes(folder: Path) -> int:
    """Bytes that the files occupy on disk, which for files with holes is less than their length."""
    sizes = (path.stat() for path in folder.rglob("*") if path.is_file())
    return sum(min(size.st_size, size.st_blocks * 512) for size in sizes)


def import_adapter(name: str) -> ModuleType:
    """Import an adapter by path under another name, since it may be called like its package."""
    spec = importlib.util.spec_from_file_location(f"engine_{name}", HERE / "engines" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"no adapter engines/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def versions() -> dict[str, str]:
    return {"python": sys.version.split()[0], **dict(_installed())}


def _installed() -> Iterator[tuple[str, str]]:
    for distribution in metadata.distributions():
        yield distribution.name.lower().replace("_", "-"), distribution.version


def main(adapter: str, workload: str, n_threads: str) -> None:
    # Only replies may go to standard output. Output of libraries is sent to standard error.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    session = Session(import_adapter(adapter), read_workload(Path(workload)), int(n_threads))
    replies.write(json.dumps({"versions": versions()}) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        operation = getattr(session, request.pop("operation"))
        try:
            reply = operation(**request)
        except Exception as error:  # noqa: BLE001 - any exception of a peer is a finding and is reported
            reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
