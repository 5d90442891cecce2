"""Random sequences of calls, crashes and readers against a dict of documents and a brute-force MaxSim."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from colsearch import ColIndex
from colsearch.errors import DuplicateIdError, UnknownIdError
from colsearch.store.snapshot import Snapshot
from tests.support import ptrace, world
from tests.support.memory import MEMORY_FOLDER
from tests.support.stages import killed_at

IDS: list[str | int] = ["a", "b", "c", 1, "1", 2, "long " * 20, "é😀"]


ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True)


versions = st.integers(0, 3)


class IndexAgainstADict(RuleBasedStateMachine):
    """An index, two readers and the snapshots that they hold, each with the state that it must show."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="colsearch-stateful-", dir=MEMORY_FOLDER))
        self.path = self.folder / "index"
        self.state: world.State = {}
        self.held: list[tuple[ColIndex, Snapshot, world.State]] = []

    @initialize()
    def create(self) -> None:
        self.index = world.create(self.path)
        self.readers = [ColIndex.open(self.path, read_only=True, n_threads=1) for _ in range(2)]

    @rule(new=ids, version=versions)
    def add(self, new: list[Any], version: int) -> None:
        documents = dict.fromkeys(new, version)
        if self.state.keys() & documents:
            with pytest.raises(DuplicateIdError):
                world.put(self.index, documents)
        else:
            world.put(self.index, documents)
            self.state |= documents

    @rule(chosen=ids, version=versions)
    def update(self, chosen: list[Any], version: int) -> None:
        documents = dict.fromkeys(chosen, version)
        world.put(self.index, documents, replace=True)
        self.state = {id: v for id, v in self.state.items() if id not in documents} | documents

    @rule(chosen=ids, purge=st.booleans())
    def delete(self, chosen: list[Any], purge: bool) -> None:
        if self.state.keys() >= set(chosen):
            self.index.delete(chosen, purge=purge)
            self.state = {id: v for id, v in self.state.items() if id not in chosen}
        else:
            with pytest.raises(UnknownIdError):
                self.index.delete(chosen, purge=purge)

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule(start=st.integers(0, 5), version=versions)
    def bulk_add(self, start: int, version: int) -> None:
        documents = {f"bulk{n}": version for n in range(start * 10, start * 10 + 7)}
        if not self.state.keys() & documents:
            step = world.staged(documents)
            step.run(self.index)
            self.state = step.model(self.state)

    @rule(chosen=ids, version=versions, number=st.integers(0, 90), torn=st.booleans())
    def crash(self, chosen: list[Any], version: int, number: int, torn: bool) -> None:
        """Another process is killed in the middle of an update."""
        documents = dict.fromkeys(chosen, version)

        def work() -> None:
            with ColIndex.open(self.path, n_threads=1) as index:
                world.put(index, documents, replace=True)

        self.index.close()
        if ptrace.supported():
            killed_at(work, number, torn=torn)
        self.index = ColIndex.open(self.path, n_threads=1)
        after = {id: v for id, v in self.state.items() if id not in documents} | documents
        problems = [world.mismatch(self.index, state) for state in (self.state, after)]
        assert None in problems, problems
        self.state = [self.state, after][problems.index(None)]

    @rule()
    def reopen_without_closing(self) -> None:
        self.index = ColIndex.open(self.path, n_threads=1)

    @rule(which=st.integers(0, 1))
    def read(self, which: int) -> None:
        problem = world.mismatch(self.readers[which], self.state)
        assert problem is None, problem

    @rule(which=st.integers(0, 1))
    def hold_a_snapshot(self, which: int) -> None:
        reader = self.readers[which]
        self.held = [*self.held[-3:], (reader, reader._store.snapshot(), dict(self.state))]

    @rule()
    def look_at_held_snapshots(self) -> None:
        """A snapshot shows the same documents and scores as when it was taken, whatever was written since."""
        for reader, snapshot, state in self.held:
            assert list(snapshot.ids()) == list(state)
            [found] = reader._engine.rank(snapshot, [world.QUERY], len(state) + 1, recall=1)
            for document, score in zip(snapshot.documents(found.ranking.doc_nos), found.ranking.scores):
                assert abs(score - world.score(document.id, state[document.id])) < 1e-3
            assert len(found.ranking.doc_nos) == len(state)

    @rule()
    def check(self) -> None:
        report = self.index.check(deep=True)
        assert report.ok, report.problems

    @invariant()
    def the_writer_sees_the_dict(self) -> None:
        if hasattr(self, "index"):
            assert list(self.index) == list(self.state)

    def teardown(self) -> None:
        if hasattr(self, "index"):
            problem = world.mismatch(self.index, self.state)
            assert problem is None, problem
            self.look_at_held_snapshots()
            for index in (self.index, *self.readers):
                index.close()
        shutil.rmtree(self.folder)


def run(n_runs: int, n_steps: int, *, seed: int | None = None) -> None:
    """Run random sequences of calls; the same seed gives the same sequences.

    Raises: AssertionError: with the shortest sequence of calls that fails.
    """
    from hypothesis import seed as with_seed

    machine = IndexAgainstADict if seed is None else with_seed(seed)(IndexAgainstADict)
    profile = settings(
        max_examples=n_runs, stateful_step_count=n_steps, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), derandomize=seed is None,
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=profile)
