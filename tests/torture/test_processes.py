"""Several processes use one index: contending writers, readers, forked and spawned workers, any user."""

import multiprocessing
import os
import shutil
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from colsearch import ColIndex
from colsearch.errors import ReadOnlyError
from tests.support import world
from tests.support.children import run_in_child
from tests.torture.processes import contend
from tests.torture.soak import Soaked, soak

NOBODY = 65534


def test_contending_writers_lose_nothing_and_readers_see_whole_states(scratch):
    total = run_in_child(lambda: contend(scratch, seconds=100, n_writes=100), seconds=120).unwrap()
    assert not total["problems"], total["problems"][:3]
    assert total["writes"] >= 40 and total["refused"] and total["reads"] >= 40, total


def test_a_soak_keeps_no_memory_and_no_descriptors(scratch):
    soaked = Soaked(
        **run_in_child(lambda: asdict(soak(scratch, seconds=100, n_calls=400)), seconds=120).unwrap()
    )
    assert soaked.n_calls >= 100
    assert soaked.growth_mb < 20, soaked
    assert soaked.descriptors[1] <= soaked.descriptors[0] + 8, soaked


def test_threads_that_read_while_others_write_see_whole_commits(scratch):
    """Each call changes all documents, so two versions in an answer are half a call, an older one is lost."""
    ids: list[str | int] = [f"doc{n}" for n in range(30)]
    over = threading.Event()
    problems: list[str] = []
    n_reads = [0, 0, 0, 0]

    def read(number: int, reader: ColIndex) -> None:
        last = 0
        while not over.is_set() and not problems:
            hits = reader.search(world.QUERY, k=99, exact=True)
            versions = {hit.metadata["version"] for hit in hits}
            state = dict.fromkeys(ids, max(versions))
            if len(hits) != len(ids) or len(versions) > 1 or max(versions) < last:
                problems.append(f"{len(hits)} hits of versions {versions} after {last}")
            problems.extend(problem for hit in hits if (problem := world.wrong_hit(hit, state)))
            last = max(versions)
            n_reads[number] += 1

    with (
        world.create(scratch / "index") as index,
        ColIndex.open(scratch / "index", read_only=True, n_threads=2) as other,
    ):
        world.put(index, dict.fromkeys(ids, 0))
        readers = [index, index, other, other]
        threads = [threading.Thread(target=read, args=pair) for pair in enumerate(readers)]
        for thread in threads:
            thread.start()
        for version in range(1, 41):
            world.put(index, dict.fromkeys(ids, version), replace=True)
            if version % 8 == 0:
                index.compact()
        over.set()
        for thread in threads:
            thread.join()
    assert not problems, problems[:3]
    assert min(n_reads) >= 5, n_reads


def searched(index: ColIndex) -> list[tuple[str | int, float]]:
    return [(hit.id, hit.score) for hit in index.search(world.QUERY, k=50)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_take_an_index_along(scratch, method):
    world.build_base(scratch / "index")
    with ColIndex.open(scratch / "index", n_threads=2) as index:
        expected = searched(index)
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(searched, [index] * 4) == [expected] * 4
        assert searched(index) == expected


@pytest.mark.parametrize("writes", [False, True], ids=["searching", "writing"])
def test_a_child_forked_while_other_threads_use_the_index_does_not_hang(scratch, writes):
    world.build_base(scratch / "index")
    over = threading.Event()
    problems: list[str] = []

    def use() -> None:
        while not over.is_set():
            index.search(world.QUERY, k=9)
            if writes:
                world.put(index, {"a0": 0}, replace=True)

    def child() -> str | None:
        with ColIndex.open(scratch / "index", n_threads=1) as own:
            found = [scored(index), scored(own)]
        return None if found == [expected] * 2 else f"{found}, not {expected}"

    def scored(index: ColIndex) -> list[tuple[str | int, float]]:
        return sorted(searched(index), key=repr)

    with ColIndex.open(scratch / "index", n_threads=2) as index:
        expected = scored(index)
        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(40):
            outcome = run_in_child(child, seconds=30)
            if outcome.kind != "ok" or outcome.value is not None:
                problems.append(str(outcome))
                break
        over.set()
        for thread in threads:
            thread.join()
    assert not problems, problems[0]


def test_a_folder_that_may_not_be_written_is_opened_by_an_ordinary_user(scratch):
    state = world.build_base(scratch / "index")
    copy = Path(shutil.copytree(scratch / "index", scratch / "copy"))
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for folder in (scratch, scratch.parent):
        folder.chmod(0o755)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}

    def as_an_ordinary_user() -> str:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        assert not os.access(copy, os.W_OK)
        with ColIndex.open(copy, n_threads=1) as index:
            problem = world.mismatch(index, state)
            assert problem is None, problem
            assert index.check(deep=True).ok
            try:
                index.delete(next(iter(index)))
            except ReadOnlyError:
                return "refused"
            return "written"

    assert run_in_child(as_an_ordinary_user).unwrap() == "refused"
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before
