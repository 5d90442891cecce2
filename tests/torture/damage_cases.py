"""Damage an index case by case, ask it every kind of question, and classify how each case ended."""

import mmap
import resource
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from colsearch import ColIndex
from colsearch.errors import ColsearchError, UnknownIdError
from colsearch.store.check import check_folder
from tests.support import world
from tests.support.children import run_in_child
from tests.support.memory import address_space_bytes
from tests.torture import damage
from tests.torture.damage import SQLITE, Damage
from tests.torture.subject import MORE_MEMORY_BYTES, Subject, rows_of

BATCH = 50


SECONDS = 120.0


def wrong_answers(path: Path, states: list[world.State]) -> list[str]:
    """All answers of an index that are wrong for every state; an error of ours is not an answer."""
    try:
        index = ColIndex.open(path, n_threads=1, read_only=True)
    except ColsearchError:
        return []
    with index:
        return [line for ask in _QUESTIONS for line in complaints_of(ask, index, states)]


Question = Callable[[ColIndex, world.State], Iterable[str]]


def complaints_of(ask: Question, index: ColIndex, states: list[world.State]) -> list[str]:
    """The wrong answers to a question; none if the answers are right for one of the states."""
    complaints = []
    for state in states:
        try:
            complaints = list(ask(index, state))
        except ColsearchError:
            return []
        if not complaints:
            return []
    return complaints


def _search(index: ColIndex, state: world.State) -> Iterable[str]:
    hits = index.search(world.QUERY, k=len(state) + 5)
    yield from filter(None, (world.wrong_hit(hit, state) for hit in hits))
    if len(hits) != len(state):
        yield f"{len(hits)} hits instead of {len(state)}"


def _filter(index: ColIndex, state: world.State) -> Iterable[str]:
    # A filter trusts SQLite: damage may hide a document, but not give it another id, text or score.
    for where in ({"version": 1}, {"$not": {"tags": "t0"}}, {"nested.id": {"$exists": True}}):
        for hit in index.search(world.QUERY, k=99, where=where):
            yield from filter(None, [world.wrong_hit(hit, state)])


def _list(index: ColIndex, state: world.State) -> Iterable[str]:
    if list(index) != list(state) or len(index) != len(state):
        yield f"ids {list(index)}"


def _get(index: ColIndex, state: world.State) -> Iterable[str]:
    for id, version in state.items():
        try:
            document = index.get(id)
        except UnknownIdError:
            continue
        if (document.id, document.text, document.metadata) != (
            id,
            world.text(id, version),
            world.metadata(id, version),
        ):
            yield f"get({id!r}) gives {document}"


def _rerank(index: ColIndex, state: world.State) -> Iterable[str]:
    wanted = list(state)[:7]
    hits = index.rerank(world.QUERY, wanted)
    yield from filter(None, (world.wrong_hit(hit, state) for hit in hits))
    if {hit.id for hit in hits} != set(wanted):
        yield f"rerank of {wanted} gives {hits}"


def _text_search(index: ColIndex, state: world.State) -> Iterable[str]:
    snapshot = index._store.snapshot()
    doc_nos, _ = snapshot.bm25("fjord0 fjord1 lake", 99)
    for document in snapshot.documents(doc_nos):
        if document.id not in state or document.text != world.text(document.id, state[document.id]):
            yield f"the text index leads to {document}"


_QUESTIONS: list[Question] = [_search, _filter, _list, _get, _rerank, _text_search]


def verdict(case: Damage, path: Path, subject: Subject) -> tuple[str, list[str]]:
    """How the case ended, and the problems with it."""
    states = [subject.state]
    if case.kind == "stale file" and case.name == SQLITE:
        states.append(subject.stale_state)
    with patch(
        "colsearch.store.container.VERIFY_AT_OPEN_BYTES", 0 if sum(map(ord, case.detail)) % 2 else 64 << 20
    ):
        problems = wrong_answers(path, states)
    try:
        report = check_folder(path, deep=True)
        found = not report.ok or (case.kind == "stale file" and bool(report.unnamed_files))
    except ColsearchError:
        found = True
    if found:
        return "found", problems
    if case.name != SQLITE:
        return "missed", [*problems, "check finds nothing"]
    if rows_of(path / SQLITE) == subject.rows:
        return "harmless", problems
    return "missed", [*problems, "check finds nothing, but SQLite's rows are others"]


def batch(numbers: Iterable[int], subject: Subject, folder: Path, progress: mmap.mmap) -> dict[str, Any]:
    """Run cases one after the other; returns counts by kind and end, and all problems.

    Args:
        progress: receives the number of each case before it runs, for the parent of a child that dies.
    """
    limit = address_space_bytes() + MORE_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    ends: Counter[str] = Counter()
    wrong = []
    for number in numbers:
        progress[:8] = number.to_bytes(8, "little")
        case = damage.draw(number, subject.files, subject.stale)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        case.apply(subject.files, folder)
        end, problems = verdict(case, folder, subject)
        ends[f"{'SQLite' if case.name == SQLITE else 'segments'}, {case.kind}: {end}"] += 1
        wrong += [f"case {number}, {case}: {problem}" for problem in problems]
    return {"ends": ends, "wrong": wrong}


def run_cases(numbers: Iterable[int], subject: Subject, folder: Path) -> tuple[Counter[str], list[str]]:
    """Run batches of cases, each in a child: if it dies or hangs, that ends its case and not the test."""
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    progress = mmap.mmap(-1, 8)
    todo = list(numbers)
    while todo:
        now = todo[:BATCH]
        outcome = run_in_child(lambda: batch(now, subject, folder / "damaged", progress), seconds=SECONDS)
        if outcome.kind == "ok":
            ends.update(outcome.value["ends"])
            wrong += outcome.value["wrong"]
            todo = todo[BATCH:]
            continue
        number = int.from_bytes(progress[:8], "little")
        case = damage.draw(number, subject.files, subject.stale)
        ends[outcome.kind] += 1
        wrong.append(f"case {number}, {case}: {outcome.kind} {str(outcome.value)[-600:]}")
        # The cases before it in the batch run again, because their counts died with the child.
        todo.remove(number)
    return ends, wrong
