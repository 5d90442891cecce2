"""Merging changes no hit and no bit of a score, gives disk space back, and does not disturb readers."""

import resource
from pathlib import Path

import numpy as np
import pytest

from colsearch import ColIndex
from tests.support import world
from tests.support.children import run_in_child

N_DOCS = 300
LONG_CHARS = 100_000


@pytest.fixture
def many(tmp_path: Path) -> tuple[Path, world.State]:
    """An index whose documents were added one by one, some of them replaced or deleted later."""
    state: world.State = {f"d{n}": 0 for n in range(N_DOCS)}
    with world.create(tmp_path / "index") as index:
        for id in state:
            world.put(index, {id: 0})
        for n in range(0, N_DOCS, 7):
            world.put(index, {f"d{n}": 1}, replace=True)
            state.pop(f"d{n}")
            state[f"d{n}"] = 1
        for n in range(1, N_DOCS, 9):
            if f"d{n}" in state:
                index.delete(f"d{n}")
                del state[f"d{n}"]
    return tmp_path / "index", state


def answers(index: ColIndex) -> list[tuple[str | int, str, float]]:
    """Ids, texts and scores, to the last bit, of exact searches for three queries."""
    rng = np.random.default_rng(5)
    queries = [rng.standard_normal((n, world.DIM)).astype(np.float32) for n in (1, 4, 9)]
    hits = [hit for query in queries for hit in index.search(query, k=N_DOCS, exact=True)]
    return [(hit.id, hit.text, hit.score.hex()) for hit in hits]


def n_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_hundreds_of_single_writes_end_as_a_handful_of_segments(many):
    path, state = many
    with ColIndex.open(path) as index:
        assert index.info()["n_segments"] <= 20
        assert len(list((path / "segments").iterdir())) == index.info()["n_segments"]
        assert world.mismatch(index, state) is None


def test_compaction_changes_no_score_by_a_bit(many):
    path, state = many
    with ColIndex.open(path) as index, ColIndex.open(path, read_only=True) as reader:
        before = answers(index)
        assert len(before) == 3 * len(state)
        index.compact()
        assert index.info()["n_segments"] == 1
        assert answers(index) == before == answers(reader)
    with ColIndex.open(path) as index:
        assert answers(index) == before


def test_a_reader_keeps_its_snapshot_while_all_files_are_replaced(many):
    path, state = many
    with ColIndex.open(path) as index, ColIndex.open(path, read_only=True, n_threads=1) as reader:
        snapshot = reader._store.snapshot()
        [before] = reader._engine.rank(snapshot, [world.QUERY], N_DOCS, recall=1)
        held = {live_segment.segment.file.path for live_segment in snapshot.segments}
        index.delete(list(state)[:100])
        index.compact()
        index.delete(list(state)[100:200], purge=True)
        assert not any(file.exists() for file in held)
        [after] = reader._engine.rank(snapshot, [world.QUERY], N_DOCS, recall=1)
        assert after.ranking.doc_nos.tolist() == before.ranking.doc_nos.tolist()
        assert after.ranking.scores.tobytes() == before.ranking.scores.tobytes()
        for document in snapshot.documents(after.ranking.doc_nos):
            assert document.text == world.text(document.id, state[document.id])


def test_compaction_gives_the_room_of_what_was_deleted_back(many):
    path, state = many
    with ColIndex.open(path) as index:
        index.compact()
        full = n_bytes(path)
        index.delete(list(state)[10:])
        # More than half of it is dead, so the write itself has rewritten the segment.
        assert index.info()["n_segments"] == 1 and len(list((path / "segments").iterdir())) == 1
        index.compact()
        assert world.mismatch(index, dict(list(state.items())[:10])) is None
    # Sections are padded to whole blocks, and SQLite's empty tables take pages too.
    with world.create(path.parent / "fresh") as fresh:
        for id, version in list(state.items())[:10]:
            world.put(fresh, {id: version})
        fresh.compact()
    assert n_bytes(path) <= n_bytes(path.parent / "fresh") + 8192 < full


def test_a_merge_takes_the_memory_of_a_part_of_what_it_copies(tmp_path):
    """The index has three segments, each with 60 MB of texts and 20 MB of codes."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 64), np.float32)
    numbers = range(1800)

    def long_text(number: int) -> str:
        return f"w{number} ".ljust(LONG_CHARS, "y")

    with ColIndex.create(tmp_path / "index", dim=64) as index:
        for first in (0, 600, 1200):
            batch = numbers[first : first + 600]
            index.add_vectors(
                [vectors] * 600, ids=batch, texts=map(long_text, batch), metadata=[{"n": n} for n in batch]
            )
        index.delete([3, 700])
        assert index.info()["n_segments"] == 3

    def merge() -> float:
        with ColIndex.open(tmp_path / "index", n_threads=1) as index:
            for live_segment in index._store.snapshot().segments:
                live_segment.segment.file.release()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            index.compact()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert index.info()["n_segments"] == 1
        return grown / 1024

    grown_mb = run_in_child(merge, seconds=300).unwrap()
    assert grown_mb < 120, "more than one segment's files and a few chunks"
    with ColIndex.open(tmp_path / "index", n_threads=1) as index:
        for number in (0, 599, 600, 1799):
            assert index.get(number).text == long_text(number) and index.get(number).metadata == {"n": number}
        assert len(index) == 1798 and index.check(deep=True).ok
