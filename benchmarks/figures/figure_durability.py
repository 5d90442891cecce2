"""Durability: the state of our index and of the peers' after a writer was killed, and the effect of a NaN."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import NotInstalledError, command_for
from benchmarks.figure import HERE, Figure, Measured, Options
from benchmarks.render import markdown_table
from benchmarks.result import Row

PROCESS = HERE / "durability" / "process.py"
LIMIT_S = 600


@dataclass(frozen=True, slots=True)
class Entrant:
    """One engine with one way of saving.

    Attributes:
        store: file in durability/stores/; also the name of the peer's environment.
        distribution: the package whose version is reported.
    """

    store: str
    way: str
    distribution: str
    settings: Mapping[str, Any] = field(default_factory=dict)


ENTRANTS = (
    Entrant("colsearch", "add_vectors", "colindex"),
    Entrant("faiss", "write_index onto the file", "faiss-cpu"),
    Entrant("faiss", "write_index, then a rename over the file", "faiss-cpu", {"rename": True}),
    Entrant("fast_plaid", "update", "fast-plaid"),
    Entrant("lancedb", "Table.add", "lancedb"),
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Attributes:
    n_docs: documents of the index before the kills.
    n_looked_for: how many of these are looked up afterwards, besides all documents that were acknowledged.
    n_adds: documents that the run without a kill adds; a kill comes after at most this many.
    """

    n_docs: int = 1_200
    n_kills: int = 30
    n_looked_for: int = 40
    n_adds: int = 20


class FailedError(RuntimeError):
    """A peer failed at a step that the trial needs; the message is its own."""


def run(options: Options) -> Measured:
    sizes = Sizes(n_docs=40, n_kills=1, n_looked_for=5, n_adds=2) if options.smoke else Sizes()
    rows: list[Row] = []
    skipped: list[Row] = []
    for entrant in ENTRANTS:
        if not options.wants(entrant.store):
            continue
        try:
            rows.append(Trial(entrant, sizes, options).row())
        except (NotInstalledError, FailedError) as error:
            skipped.append({"engine": entrant.store, "why": str(error)})
    return Measured(
        rows,
        {"n_docs": sizes.n_docs, "n_kills": sizes.n_kills, "n_looked_for": sizes.n_looked_for},
        notes=[
            "A kill ends the writer's process, not the machine: what the operating system had taken is kept. "
            "What a power cut does was tried on ours alone."
        ],
        skipped=skipped,
    )


class Trial:
    """One entrant: its index, the processes that work on copies of it, and their results."""

    def __init__(self, entrant: Entrant, sizes: Sizes, options: Options) -> None:
        self.entrant, self.sizes, self.options = entrant, sizes, options
        self.folder = options.home / "durability" / f"{entrant.store}{'-renamed' if entrant.settings else ''}"
        self.copy = self.folder / "copy"
        self.looked_for = random.Random(options.seed).sample(range(sizes.n_docs), sizes.n_looked_for)

    def row(self) -> Row:
        """Run the trial.

        Raises:
            NotInstalledError: if the peer is missing.
            FailedError: if even a run without a kill goes wrong.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        arguments = {"n_docs": self.sizes.n_docs, "distribution": self.entrant.distribution}
        created = self._ask("create", self.folder / "whole", **arguments)
        span_s = self._unharmed()
        rng = random.Random(self.options.seed)
        # Each kill comes during the add that follows a number of adds. Adds are counted instead of timed, so
        # that a busy machine does not make the runs longer.
        moments = [
            (rng.randint(1, self.sizes.n_adds), rng.uniform(0, span_s / self.sizes.n_adds))
            for _ in range(self.sizes.n_kills)
        ]
        ends = [self._killed(n_adds, delay_s) for n_adds, delay_s in moments]
        row = {
            "engine": self.entrant.store,
            "version": created["version"],
            "saves by": self.entrant.way,
            "n_kills": self.sizes.n_kills,
            **summary(ends),
            **self._spoilt(),
        }
        shutil.rmtree(self.folder)
        return row

    def _unharmed(self) -> float:
        """Seconds that the adds take without a kill.

        Raises: FailedError: if documents are lost even so, since then a trial with kills would show nothing.
        """
        self._copy_whole()
        with self._start("write", self.copy, first=self.sizes.n_docs, n_docs=self.sizes.n_adds) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            start = time.monotonic()
            acknowledged = 1 + len(writer.stdout.readlines())
            span_s = (time.monotonic() - start) * self.sizes.n_adds / (self.sizes.n_adds - 1)
        if writer.returncode or acknowledged < self.sizes.n_adds:
            raise FailedError(f"adding documents ended with {writer.returncode}: {self._log_end()}")
        end = self._inspected(range(self.sizes.n_docs, self.sizes.n_docs + acknowledged))
        if not is_well(end):
            raise FailedError(f"without a kill: {end}")
        return span_s

    def _killed(self, n_adds: int, delay_s: float) -> dict[str, Any]:
        """Kill a writer `delay_s` after it has acknowledged `n_adds` documents, and inspect the index."""
        self._copy_whole()
        with self._start("write", self.copy, first=self.sizes.n_docs, n_docs=1_000_000) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(n_adds)]
            if not lines[-1]:
                raise FailedError(f"the writer ended by itself: {self._log_end()}")
            time.sleep(delay_s)
            os.killpg(writer.pid, signal.SIGKILL)
            lines += writer.stdout.readlines()
            acknowledged = [int(line) for line in lines if line.endswith("\n")]
        return {**self._inspected(acknowledged), "n_acknowledged": len(acknowledged)}

    def _inspected(self, acknowledged: Sequence[int]) -> dict[str, Any]:
        try:
            return self._ask("inspect", self.copy, numbers=[*self.looked_for, *acknowledged])
        except FailedError as error:
            return {"opens": False, "error": str(error)}

    def _spoilt(self) -> Row:
        self._copy_whole()
        try:
            answer = self._ask("spoil", self.copy, numbers=self.looked_for, n_docs=self.sizes.n_docs)
        except FailedError as error:
            return {"nan": f"the process died: {error}", "nan_changed": None}
        return {
            "nan": f"refused: {answer['refused']}" if answer["refused"] else "taken",
            "nan_changed": len(answer["changed"]) / len(self.looked_for),
        }

    def _copy_whole(self) -> None:
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.folder / "whole", self.copy)

    def _ask(self, action: str, folder: Path, **arguments: Any) -> dict[str, Any]:
        with self._start(action, folder, **arguments) as process:
            try:
                output, _ = process.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise FailedError(f"no answer within {LIMIT_S} s") from None
        if process.returncode or not output:
            raise FailedError(f"{action} ended with {process.returncode}: {self._log_end()}")
        # An engine's message may name its files; the result must not name this machine's folders.
        answer: dict[str, Any] = json.loads(output.replace(str(folder), "INDEX"))
        return answer

    def _start(self, action: str, folder: Path, **arguments: Any) -> subprocess.Popen[str]:
        command, extra = command_for(self.entrant.store, self.options.home)
        arguments_json = [json.dumps(dict(part)) for part in (self.entrant.settings, arguments)]
        with (self.folder / "log").open("w", encoding="utf-8") as log:
            return subprocess.Popen(
                [*command, str(PROCESS), self.entrant.store, action, str(folder), *arguments_json],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **extra},
                text=True,
                # A process group of its own, so that a kill also ends all processes that the engine started.
                start_new_session=True,
            )

    def _log_end(self) -> str:
        lines = (self.folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "no output"


def is_well(end: Mapping[str, Any]) -> bool:
    """Whether the index opens, has every document under its own id, and takes the next write."""
    return end["opens"] and end["writes"] and not (end["lost"] or end["wrong"] or end["errors"])


def summary(ends: Sequence[Mapping[str, Any]]) -> Row:
    """Number of runs that ended in each way; documents are looked up only in an index that opens."""
    opened = [end for end in ends if end["opens"]]
    errors = [end["error"] for end in ends if "error" in end] + [e for end in opened for e in end["errors"]]
    return {
        "n_acknowledged": float(sum(end["n_acknowledged"] for end in ends)),
        "unopenable": float(len(ends) - len(opened)),
        "losing": float(sum(bool(end["lost"]) for end in opened)),
        "wrong": float(sum(bool(end["wrong"]) for end in opened)),
        "failing": float(sum(bool(end["errors"]) for end in opened)),
        "unwritable": float(sum(not end["writes"] for end in opened)),
        "unharmed": float(sum(map(is_well, ends))),
        "errors": sorted(set(errors))[:5],
    }


COLUMNS = {
    "engine": "engine",
    "version": "version",
    "saves by": "saves by",
    "n_kills": "kills",
    "n_acknowledged": "documents acknowledged before the kills",
    "unopenable": "cannot be opened",
    "losing": "acknowledged documents lost",
    "wrong": "documents under a wrong id",
    "failing": "searches that raise",
    "unwritable": "next add fails",
    "unharmed": "unharmed",
    "nan": "a document with a NaN",
    "nan_changed": "answers changed by it",
}


def table(result: Mapping[str, Any]) -> str:
    return markdown_table([{**row, "nan": row["nan"].split(":")[0]} for row in result["rows"]], COLUMNS)


FIGURE = Figure(
    "durability",
    claim="a killed writer loses no acknowledged document of our index, and a NaN changes no score",
    minutes=25,
    run=run,
    table=table,
)
