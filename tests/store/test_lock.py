"""The writer's lock: a refusal names the holder, its death frees the lock, and no child keeps it."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from colsearch import ColIndex
from colsearch.errors import IndexLockedError
from tests.support import world
from tests.support.children import Outcome, run_in_child


@pytest.fixture
def path(tmp_path: Path) -> Path:
    world.create(tmp_path / "index").close()
    return tmp_path / "index"


def write_slowly(index: ColIndex, meanwhile: Callable[[], None]) -> None:
    """Add one document; `meanwhile` runs in the middle of it, when the lock is held."""

    def vectors() -> Iterator[Any]:
        meanwhile()
        yield world.vectors("slow", 0)

    index.add_vectors(vectors(), ids=["slow"])


def test_a_second_writer_is_told_who_writes_and_since_when(path):
    def second() -> None:
        with ColIndex.open(path, n_threads=1) as other:
            start = time.monotonic()
            with pytest.raises(IndexLockedError, match="is being written by") as raised:
                other.add_vectors([world.vectors("x", 0)], ids=["x"])
            assert time.monotonic() - start < 5, "at once, not when SQLite has waited for half a minute"
            message = str(raised.value)
            holder = json.loads(message[message.index("{") : message.index("}") + 1])
            assert holder["pid"] == os.getpid() and holder["host"] == os.uname().nodename
            assert abs(time.mktime(time.strptime(holder["since"], "%Y-%m-%d %H:%M:%S")) - time.time()) < 3600
            assert len(other) == 0 and other.search(world.QUERY) == []

    with ColIndex.open(path, n_threads=1) as index:
        write_slowly(index, second)
        assert list(index) == ["slow"]
        world.put(index, {"next": 1})


def test_the_death_of_a_writer_frees_the_lock_and_leaves_nothing(path):
    child = os.fork()
    if child == 0:
        try:
            with ColIndex.open(path, n_threads=1) as index:
                write_slowly(index, lambda: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with ColIndex.open(path, n_threads=1) as index:
        assert len(index) == 0
        world.put(index, {"after": 1})
        assert list(index) == ["after"]


@pytest.mark.parametrize("dies", [False, True], ids=["the writer goes on", "the writer dies"])
def test_a_child_that_is_forked_in_the_middle_of_a_write_does_not_keep_the_lock(path, dies):
    """Such children are the workers of a pool that the caller's generator starts."""
    pids, told = os.pipe()

    def start_a_worker() -> None:
        ready, say = os.pipe()
        worker = os.fork()
        if worker == 0:
            os.write(say, b".")
            signal.pause()
            os._exit(0)
        os.read(ready, 1)
        os.write(told, f"{worker}\n".encode())
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)

    writer = os.fork()
    if writer == 0:
        code = 1
        try:
            with ColIndex.open(path, n_threads=1) as index:
                write_slowly(index, start_a_worker)
                code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(writer, 0)
    worker = int(os.read(pids, 100))
    try:
        assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if dies else 0)
        with ColIndex.open(path, n_threads=1) as index:
            world.put(index, {"after": 1})
            assert list(index) == (["after"] if dies else ["slow", "after"])
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_child_does_not_close_the_file_that_got_the_locks_number(path, monkeypatch):
    close, outcomes = os.close, list[Outcome]()

    def close_and_fork(descriptor: int) -> None:
        # At this moment another thread may open a file, which gets the number that has become free.
        monkeypatch.undo()
        close(descriptor)
        with path.joinpath("file").open("wb") as file:
            assert file.fileno() == descriptor
            outcomes.append(run_in_child(lambda: os.fstat(descriptor).st_size))

    with ColIndex.open(path, n_threads=1) as index, index._store.write_lock():
        monkeypatch.setattr(os, "close", close_and_fork)
    assert [outcome.unwrap() for outcome in outcomes] == [0]
