"""Cold start: the time of a fresh process until its first hits."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora.vectors import workload
from benchmarks.exact import Reference
from benchmarks.figure import Figure, Measured, Options
from benchmarks.machine import ROOT
from benchmarks.ours import build_index
from benchmarks.render import markdown_table
from benchmarks.result import Row

N_PROCESSES = 5
# Runs in the fresh process. It prints each step's wall and CPU seconds since its first line, and the hits.
SCRIPT = """
import json, sys, time
wall, cpu = time.perf_counter(), time.process_time()
steps = {}
def note(step):
    steps[step] = [time.perf_counter() - wall, time.process_time() - cpu]
import colsearch
note("import")
import numpy as np
query = np.load(sys.argv[2])
index = colsearch.ColIndex.open(sys.argv[1], read_only=True, n_threads=int(sys.argv[3]))
note("open")
ids = [hit.id for hit in index.search(query, k=10)]
note("first_hit")
index.search(query, k=10)
note("second_hit")
print(json.dumps({"steps": steps, "ids": ids}))
"""


def run(options: Options) -> Measured:
    work = workload("debian", options)
    folder = options.home / "indexes" / work.folder.name / "cold-start"
    query = folder.with_suffix(".query.npy")
    build_index(folder, work, n_threads=options.threads).close()
    np.save(query, work.queries[0])
    reference = Reference(work.folder, n_queries=1)
    n_processes = 1 if options.smoke else N_PROCESSES
    command = [sys.executable, "-c", SCRIPT, str(folder), str(query), str(options.threads)]
    with tempfile.TemporaryDirectory() as empty:
        # A smoke run uses the existing cache, because compiling would take longer than the rest of the run.
        cache = None if options.smoke else Path(empty)
        first = [_process(command, cache)]
        later = [_process(command, cache) for _ in range(n_processes)]
    rows = [
        _row("the very first (compiles the kernels)", first, reference),
        _row("every later one", later, reference),
    ]
    return Measured(rows, {"workload": "debian", "n_docs": work.n_docs, "n_processes": n_processes})


def _process(command: list[str], cache: Path | None) -> dict[str, Any]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    environment = {**os.environ, "PYTHONPATH": path}
    if cache is not None:
        environment["COLSEARCH_KERNEL_CACHE"] = str(cache)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    reply: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return reply


def _row(process: str, replies: list[dict[str, Any]], reference: Reference) -> Row:
    row: dict[str, Any] = {
        "process": process,
        "recall@10": min(reference.recall(0, [int(i) for i in reply["ids"]], 10) for reply in replies),
    }
    for step in replies[0]["steps"]:
        wall, cpu = np.median([reply["steps"][step] for reply in replies], axis=0)
        row |= {f"{step}_cpu_s": round(float(cpu), 3), f"{step}_wall_s": round(float(wall), 3)}
    return row


def table(result: Mapping[str, Any]) -> str:
    columns = {
        "process": "process",
        "import_cpu_s": "import, CPU s",
        "open_cpu_s": "+ open",
        "first_hit_cpu_s": "+ first hits",
        "first_hit_wall_s": "(wall s)",
        "second_hit_cpu_s": "+ second hits",
    }
    return markdown_table(result["rows"], columns)


FIGURE = Figure(
    "cold-start",
    claim="a fresh process has its first hits within a second of CPU once the kernels are compiled",
    minutes=2,
    run=run,
    table=table,
)
