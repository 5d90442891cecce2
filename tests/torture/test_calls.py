"""The files that system calls change: none while reading, and none that has its final name."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from colsearch import ColIndex
from colsearch.store.check import check_folder
from tests.support import ptrace, world

pytestmark = pytest.mark.skipif(not ptrace.supported(), reason="needs ptrace on x86-64 Linux")

NAMED = (".seg", ".pre", ".model")
CUTS_OR_WRITES = ptrace.WRITES | {
    "writev",
    "pwritev",
    "truncate",
    "ftruncate",
    "fallocate",
    "copy_file_range",
}


def changing_calls(folder: Path, work: Callable[[], None]) -> list[tuple[str, str]]:
    """Name and file of each call that changes a file in the folder, those of SQLite included."""
    seen: list[tuple[str, str]] = []

    def watch(call: ptrace.Call) -> None:
        path = call.path()
        if path.startswith(str(folder)):
            seen.append((call.name, Path(path).name))

    assert ptrace.trace(work, watch) == 0, "the child failed"
    return seen


def test_opening_searching_and_checking_change_no_file(scratch):
    state = world.build_base(scratch / "index")
    with ColIndex.open(scratch / "index") as index:
        for step in world.STEPS[:4]:
            step.run(index)
            state = step.model(state)

    def read() -> None:
        for read_only in (False, True):
            with ColIndex.open(scratch / "index", read_only=read_only, n_threads=1) as index:
                assert world.mismatch(index, state) is None
                (
                    index.info(),
                    index.get("a5"),
                    index.rerank(world.QUERY, ["a5"]),
                    index.explain(world.QUERY, "a5"),
                )
        assert check_folder(scratch / "index", deep=True).ok

    assert changing_calls(scratch / "index", read) == []


def test_a_file_that_has_its_name_is_never_written_or_cut(scratch):
    world.build_base(scratch / "index")

    def write() -> None:
        with ColIndex.open(scratch / "index", n_threads=1) as index:
            for step in world.STEPS:
                step.run(index)

    calls = changing_calls(scratch / "index", write)
    seen = Counter(name for name, _ in calls)
    assert seen["rename"] >= 10 and seen["unlink"] >= 10 and seen["write"] >= 50, seen
    assert [call for call in calls if call[0] in CUTS_OR_WRITES and call[1].endswith(NAMED)] == []


def test_opening_after_a_kill_rolls_back_and_changes_nothing_else(scratch):
    """Opening may write one thing: it plays back the SQLite journal of a writer that was killed."""
    state = world.build_base(scratch / "index")
    with closing(sqlite3.connect(scratch / "index" / "index.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 0")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM documents")
        connection.execute("UPDATE state SET value = 7")
        connection.execute("CREATE TABLE filler AS SELECT randomblob(200000) AS x")
        killed = Path(shutil.copytree(scratch / "index", scratch / "killed"))
        connection.execute("ROLLBACK")
    assert (killed / "index.sqlite-journal").stat().st_size > 0

    def read() -> None:
        with ColIndex.open(killed, n_threads=1) as index:
            assert world.mismatch(index, state) is None

    changed = {file for _, file in changing_calls(killed, read)}
    assert {"index.sqlite"} < changed <= {"index.sqlite", "index.sqlite-journal"}, changed
    assert changing_calls(killed, read) == []
