"""A bulk add in several staged segments: all or nothing, resumable, and swept if it is not resumed."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.errors import DuplicateIdError
from colsearch.store import staging
from tests.support import world
from tests.support.children import run_in_child

N_DOCS, KILLED_AT = 40, 27
IDS = [f"bulk{n}" for n in range(N_DOCS)]


@pytest.fixture
def small_batches() -> Iterator[None]:
    """As if four documents filled the memory that a bulk add may take."""
    with patch.object(staging, "BUFFER_BYTES", 1), patch("colsearch.ingest.pipeline.BATCH_DOCS", 4):
        yield


def add(index: ColIndex, *, resume: bool = False, killed: bool = False, ids: list[str] = IDS) -> int:
    def vectors() -> Iterator[Any]:
        for n, id in enumerate(ids):
            if killed and n == KILLED_AT:
                os.kill(os.getpid(), signal.SIGKILL)
            yield world.vectors(id, 1)

    return index.add_vectors(
        vectors(),
        ids=ids,
        texts=[world.text(id, 1) for id in ids],
        metadata=[world.metadata(id, 1) for id in ids],
        resume=resume,
    )


@pytest.fixture
def killed(tmp_path: Path, small_batches: None) -> tuple[Path, world.State]:
    """An index whose bulk add was killed when some of it was staged."""
    state = world.build_base(tmp_path / "index")
    child = os.fork()
    if child == 0:
        try:
            with ColIndex.open(tmp_path / "index", n_threads=1) as index:
                add(index, killed=True)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with ColIndex.open(tmp_path / "index") as index:
        assert len(index._store.reader.staged_segments()) == KILLED_AT // 4
        assert world.mismatch(index, state) is None
        assert index.check(deep=True).ok
    return tmp_path / "index", state


def test_a_killed_bulk_add_goes_on_where_it_stopped(killed):
    path, state = killed
    encoded = []
    with ColIndex.open(path) as index:
        real = index._codec.encode
        with patch.object(type(index._codec), "encode", lambda _, v: encoded.append(len(v)) or real(v)):
            assert add(index, resume=True) == N_DOCS
        assert world.mismatch(index, state | dict.fromkeys(IDS, 1)) is None
        assert index.check(deep=True).ok and index._store.reader.staged_segments() == []
    staged = KILLED_AT // 4 * 4
    assert sum(encoded) == sum(len(world.vectors(id, 1)) for id in IDS[staged:]), (
        "what was staged is encoded again"
    )


def test_a_killed_bulk_add_that_is_not_resumed_is_swept_by_the_next_write(killed):
    path, state = killed
    world.assert_writer_works(path, state)


def test_an_id_that_comes_twice_far_apart_leaves_nothing(tmp_path, small_batches):
    with world.create(tmp_path / "index") as index:
        with pytest.raises(DuplicateIdError, match="'bulk0' comes twice"):
            add(index, ids=[*IDS, "bulk0"])
        assert len(index) == 0 and index.check(deep=True).ok
        assert not list((tmp_path / "index" / "segments").iterdir())
        assert add(index) == N_DOCS


def test_a_long_stream_of_vectors_takes_the_memory_of_a_part_of_it(tmp_path):
    """25,000 documents are 640 MB as floats and 160 MB as codes; neither may add up in memory."""
    n_docs, n_tokens, dim = 25_000, 50, 128
    pool = np.random.default_rng(0).standard_normal((4096 + n_tokens, dim), np.float32)

    def vectors(n: int, seen: Callable[[int], object]) -> Iterator[Any]:
        for number in range(n):
            first = number * 37 % 4096
            # A copy, so that a reference to it keeps the whole array in memory.
            yield pool[first : first + n_tokens] * np.float32(1 + number % 7)
            seen(number)

    def peaks() -> list[float]:
        with ColIndex.create(tmp_path / "warm", dim=dim) as index:
            index.add_vectors(vectors(600, id))
            index.search(pool[:4])
        found = [_peak_mb()]
        with ColIndex.create(tmp_path / "index", dim=dim) as index:
            at = {int(n_docs * 0.6), n_docs - 1}
            ids = (f"doc{n}" for n in range(n_docs))
            index.add_vectors(vectors(n_docs, lambda n: n in at and found.append(_peak_mb())), ids=ids)
            assert len(index) == n_docs and index.info()["prefilter"]
        return [*found, _peak_mb()]

    started, most_of_it, all_of_it, fitted = run_in_child(peaks, seconds=600).unwrap()
    assert all_of_it - most_of_it < 20, "memory grows with the stream"
    assert all_of_it - started < 140, "of 64 MiB of codes, and what is made of them when they are written"
    assert fitted - started < 450, "a prefilter is fitted on a sample"


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
