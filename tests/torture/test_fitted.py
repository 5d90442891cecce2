"""An index with a learned prefilter in forked and spawned workers, during a merge, and after a purge."""

import multiprocessing
import resource
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.codec.rotated import EncodedTokens
from colsearch.query.engine import QueryResult
from colsearch.types import F32, Hits
from tests.support.children import run_in_child
from tests.support.clusters import cluster_documents, draw_kinds, draw_queries
from tests.support.memory import address_space_bytes
from tests.support.prefilters import use_small_prefilters

# 200,000 tokens, which is hardly more than a prefilter needs. Spawned workers see no patched threshold.
DIM, N_DOCS, N_LATER = 128, 4_000, 30
QUERIES = draw_queries(12, 5, draw_kinds(0, DIM))
# For each query, ids and scores (to the last bit) of its hits, and the number of candidates.
Answers = list[list[Any]]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Prefilters with fewer probes and dims, which are fitted in a second or two."""
    with pytest.MonkeyPatch.context() as patch:
        use_small_prefilters(patch, n_probes=1024, n_landmarks=256, n_dims=192)
        yield


@pytest.fixture(scope="module")
def fitted(memory: Path) -> Path:
    """A large segment with a prefilter, two small ones without, and deletions in all three."""
    kinds = draw_kinds(0, DIM)
    path = memory / "fitted"
    with ColIndex.create(path, dim=DIM, n_threads=2) as index:
        add(index, cluster_documents(N_DOCS, 1, kinds, (40, 65)), 0)
        assert index.info()["prefilter"]
        for first in (N_DOCS, N_DOCS + N_LATER):
            add(index, cluster_documents(N_LATER, first, kinds), first)
        # The best hits of some queries, so that a deleted document that came back would be found.
        best = {hit.id for hits in index.search(QUERIES[:3], k=2, exact=True) for hit in hits}
        index.delete(best | {key(N_DOCS + 1), key(N_DOCS + N_LATER + 1)})
        info = index.info()
        assert info["n_segments"] == 3 and info["n_prefiltered_segments"] == 1
    return path


def key(n: int) -> str:
    return f"id{n}key"


def add(index: ColIndex, documents: list[F32], first: int) -> None:
    numbers = range(first, first + len(documents))
    index.add_vectors(
        documents,
        ids=[key(n) for n in numbers],
        texts=[f"of zanzibar and code{n}word" for n in numbers],
        metadata=[{"owner": f"owner{n}name"} for n in numbers],
    )


@pytest.fixture
def copied(scratch: Path, fitted: Path) -> Path:
    return Path(shutil.copytree(fitted, scratch / "index"))


def asked(index: ColIndex, **how: Any) -> Answers:
    return [answer(hits) for hits in index.search(QUERIES, k=10, profile=True, **how)]


def answer(hits: Hits) -> list[Any]:
    assert hits.profile is not None
    return [[hit.id for hit in hits], [hit.score.hex() for hit in hits], hits.profile.n_candidates]


def everything_asked(index: ColIndex) -> dict[str, Answers]:
    one_by_one = [answer(index.search(query, k=10, profile=True)) for query in QUERIES]
    return {"together": asked(index), "one by one": one_by_one, "exact": asked(index, exact=True)}


def asked_of(path: Path) -> dict[str, Answers]:
    with ColIndex.open(path, n_threads=2) as index:
        return everything_asked(index)


def assert_prefiltered(answers: dict[str, Answers]) -> None:
    for _, _, n_candidates in answers["together"] + answers["one by one"]:
        assert n_candidates < N_DOCS / 2, "a scan answered"


@contextmanager
def busy_libraries() -> Iterator[Callable[[], None]]:
    """Keep FAISS and torch busy on all their threads: once in this thread, then in two others.

    Yields: a function that ends their work; a forked child may call it too.
    """
    import faiss
    import torch

    rows = np.random.default_rng(0).standard_normal((3_000, 64), np.float32)
    flat = faiss.IndexFlatIP(64)
    flat.add(rows)
    matrix = torch.from_numpy(rows)
    over = multiprocessing.get_context("fork").Event()

    def work(call: Callable[[], object]) -> None:
        while not over.is_set():
            call()

    calls = [lambda: flat.search(rows[:500], 5), lambda: matrix @ matrix.T]
    for call in calls:
        call()
    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    try:
        yield over.set
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_forked_and_spawned_workers_find_what_their_parent_finds(copied):
    with ColIndex.open(copied, n_threads=2) as index:
        expected = everything_asked(index)
        assert_prefiltered(expected)
        pools = [multiprocessing.get_context(method).Pool(2) for method in ("fork", "spawn")]
        try:
            waiting = [pool.map_async(everything_asked, [index] * 2) for pool in pools]
            assert everything_asked(index) == expected
            for found in waiting:
                assert found.get(timeout=240) == [expected] * 2
        finally:
            for pool in pools:
                pool.terminate()
        assert everything_asked(index) == expected


def test_a_child_forked_beside_busy_libraries_searches_the_index_it_was_given_and_its_own(copied):
    with ColIndex.open(copied, n_threads=2) as index, busy_libraries():
        expected = everything_asked(index)
        assert_prefiltered(expected)
        for _ in range(3):
            found = run_in_child(lambda: [everything_asked(index), asked_of(copied)], seconds=120)
            assert found.unwrap() == [expected] * 2
        assert everything_asked(index) == expected


def test_a_forked_child_may_write_and_its_parent_sees_it(copied):
    """The child fits and searches with libraries whose threads its parent was using."""
    kinds = draw_kinds(0, DIM)
    with ColIndex.open(copied, n_threads=2) as index, busy_libraries() as end_work:
        asked(index)

        def child() -> Answers:
            # The threads were busy at the fork, which is enough; more work would only take time.
            end_work()
            add(index, cluster_documents(2_500, 77, kinds, (40, 65)), 10_000)
            assert index.info()["n_prefiltered_segments"] >= 2
            return asked(index)

        found = run_in_child(child, seconds=300).unwrap()
        assert asked(index) == found and any(id[2:7].isdigit() for ids, _, _ in found for id in ids)
        assert index.check(deep=True).ok


def searched(index: ColIndex, snapshot: Any, recall: float) -> list[list[Any]]:
    found: list[QueryResult] = index._engine.rank(snapshot, QUERIES, 10, recall=recall)
    return [[result.ranking.doc_nos.tolist(), result.ranking.scores.tobytes().hex()] for result in found]


def test_a_reader_under_a_compaction_by_another_process_keeps_every_bit(copied):
    with ColIndex.open(copied, read_only=True, n_threads=2) as reader:
        held = reader._store.snapshot()
        before = everything_asked(reader)
        assert_prefiltered(before)
        shares = (0.9, 0.99, 1.0)
        held_before = [searched(reader, held, share) for share in shares]
        files = {live_segment.segment.file.path for live_segment in held.segments}
        files |= {
            live_segment.prefilter.path
            for live_segment in held.segments
            if live_segment.prefilter is not None
        }
        compaction = multiprocessing.get_context("spawn").Process(target=compact, args=(copied,))
        compaction.start()
        n_read = 0
        while compaction.is_alive():
            assert asked(reader, exact=True) == before["exact"]
            assert [searched(reader, held, share) for share in shares] == held_before
            n_read += 1
        compaction.join()
        assert compaction.exitcode == 0 and n_read >= 2
        assert not any(file.exists() for file in files), "they were merged, and collected"
        assert len(reader._store.snapshot().segments) == 1
        after = everything_asked(reader)
        assert after["exact"] == before["exact"]
        scores = exact_scores(reader)
        for name in ("together", "one by one"):
            for query, (ids, found, _) in enumerate(after[name]):
                assert found == [scores[query][id] for id in ids]
        # The reader dropped its view of the old snapshot; files that only it holds open are read again.
        assert [searched(reader, held, share) for share in shares] == held_before
        assert asked_of(copied) == after


def exact_scores(index: ColIndex) -> list[dict[Any, str]]:
    return [
        {hit.id: hit.score.hex() for hit in hits} for hits in index.search(QUERIES, k=len(index), exact=True)
    ]


def compact(path: Path) -> None:
    with ColIndex.open(path, n_threads=1) as index:
        index.compact()
        index.optimize()


def test_a_purge_by_another_process_leaves_a_held_snapshot_as_it_was(copied):
    """A purge rewrites every file of the snapshot, SQLite's included."""
    with ColIndex.open(copied, read_only=True, n_threads=2) as reader:
        held = reader._store.snapshot()
        before = [searched(reader, held, share) for share in (0.95, 1.0)]
        doc_nos = held.locate(np.arange(0, 60))[1]
        documents = [document.id for document in held.documents(np.arange(0, 60))]
        gone = [hit.id for hit in reader.search(QUERIES[5], k=5, exact=True)]
        run_in_child(lambda: purge(copied, gone), seconds=120).unwrap()
        assert [searched(reader, held, share) for share in (0.95, 1.0)] == before
        assert held.locate(np.arange(0, 60))[1].tolist() == doc_nos.tolist()
        assert [document.id for document in held.documents(np.arange(0, 60))] == documents
        assert not set(gone) & {hit.id for hit in reader.search(QUERIES[5], k=50)}


def purge(path: Path, ids: list[Any]) -> None:
    with ColIndex.open(path, n_threads=1) as index:
        index.delete(ids, purge=True)


def tokens_in_model(index: ColIndex) -> dict[str, list[bytes]]:
    """Id -> the tokens of that document that the model holds, as the bytes of their quantized rows."""
    snapshot = index._store.snapshot()
    assert snapshot.model is not None
    probes = {row.tobytes() for row in snapshot.model.file.rows("probes")}
    found: dict[str, list[bytes]] = {}
    for live_segment in snapshot.segments:
        segment = live_segment.segment
        encoded = EncodedTokens(tuple(segment.planes), tuple(segment.widths))
        rows = index._codec.prepare_query(index._codec.decode(encoded)).values
        for ordinal in range(segment.n_docs):
            start, stop = segment.offsets[ordinal : ordinal + 2]
            own = {row.tobytes() for row in rows[start:stop]} & probes
            if own:
                found[str(segment.id(ordinal))] = sorted(own)
    return found


def traces(index: ColIndex, id: str) -> list[bytes]:
    """Bytes that only this document has: id, a word, metadata, the codes of each token, document codes."""
    snapshot = index._store.snapshot()
    [position], [ordinal] = snapshot.locate(snapshot.find([id]))
    live = snapshot.segments[position]
    number = id[2:-3]
    found = [id.encode(), f"code{number}word".encode(), f"owner{number}name".encode()]
    rows = range(*live.segment.offsets[ordinal : ordinal + 2].tolist())
    found += [plane[row].tobytes() for plane in live.segment.planes for row in rows]
    if live.prefilter is not None:
        found.append(live.prefilter.rows("fine")[ordinal].tobytes())
    return found


def files_with(folder: Path, wanted: list[bytes]) -> list[tuple[str, bytes]]:
    """Name and trace wherever a file of the folder holds one of the traces, which have four bytes or more."""
    contents = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [(name, trace) for name, content in contents.items() for trace in traces_in(content, wanted)]


def traces_in(content: bytes, wanted: list[bytes]) -> list[bytes]:
    """The traces that the content holds.

    A plain search for hundreds of traces in tens of megabytes takes many seconds. Therefore a trace is
    searched for only if its first four bytes occur.
    """
    data = np.frombuffer(content, np.uint8).astype(np.uint16)
    pairs = data[:-1] << 8 | data[1:]
    first, second = np.zeros(1 << 16, bool), np.zeros(1 << 16, bool)
    for trace in wanted:
        first[trace[0] << 8 | trace[1]] = second[trace[2] << 8 | trace[3]] = True
    places = np.flatnonzero(first[pairs[:-2]])
    places = places[second[pairs[places + 2]]]
    beginnings = {content[place : place + 4] for place in places}
    return [trace for trace in wanted if trace[:4] in beginnings and trace in content]


def test_a_purge_takes_tokens_out_of_the_model_that_was_fitted_on_them(copied):
    with ColIndex.open(copied, n_threads=2) as index:
        held = tokens_in_model(index)
        in_model = [id for id in held if id in index]
        gone_before, *gone = in_model[:3]
        gone += [key(N_DOCS + 2), next(key(n) for n in range(N_DOCS) if key(n) not in held)]
        wanted = [*traces(index, gone_before), *held[gone_before]]
        index.delete(gone_before)
        wanted += [trace for id in gone for trace in [*traces(index, id), *held.get(id, [])]]
        found = {trace for _, trace in files_with(copied, wanted)}
        assert found >= {trace for trace in wanted if b"word" not in trace}, "nothing to purge"
        index.delete(gone, purge=True)
        assert files_with(copied, wanted) == []
        assert {path.name for path in copied.iterdir()} == {
            "index.sqlite",
            "models",
            "segments",
            "writer.lock",
        }
        assert "zanzibar" in words(copied)
        assert not words(copied) & {f"code{id[2:-3]}word" for id in (gone_before, *gone)}
        assert index.check(deep=True).ok
        # The other documents are found as before, and a new prefilter is fitted on them alone.
        exact = asked(index, exact=True)
        assert [ids for ids, _, _ in asked(index)] == [ids for ids, _, _ in exact]
        assert index.optimize() and index.info()["optimize_due"] is None
        assert_prefiltered(everything_asked(index))
        assert asked(index, exact=True) == exact and files_with(copied, wanted) == []
        model = index.info()["prefilter"]
        add(index, cluster_documents(3, 55, draw_kinds(0, DIM)), 20_000)
        wanted = traces(index, key(20_001))
        index.delete(key(20_001), purge=True)
        assert files_with(copied, wanted) == [] and index.info()["prefilter"] == model, (
            "it never saw this one"
        )


def words(path: Path) -> set[str]:
    """All words of the text index."""
    with closing(sqlite3.connect(path / "index.sqlite")) as connection:
        connection.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, texts, row)")
        return {word for (word,) in connection.execute("SELECT term FROM terms")}


@pytest.mark.parametrize("k", [2**31, 2**63])
def test_a_k_beyond_all_documents_gives_all_of_them_soon(fitted, k):
    with ColIndex.open(fitted, n_threads=1) as index:
        best = index.search(QUERIES[0], k=len(index), exact=True)

        def use() -> float:
            start = time.process_time()
            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes() + (512 << 20), hard))
            found = index.search(QUERIES[0], k=k)
            assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in best]
            assert len(index.search(QUERIES[0], k=k, group_by="owner")) == len(best)
            assert index.audit(QUERIES[:1], k=k).recall == 1
            return time.process_time() - start

        index.search(QUERIES[0])
        assert run_in_child(use).unwrap() < 3, "three calls"


@pytest.mark.parametrize("kind", ["*.model", "*.pre"])
def test_a_damaged_prefilter_is_made_anew_by_a_write_that_is_large_enough(copied, kind):
    [path] = copied.glob(f"*/{kind}")
    path.write_bytes(path.read_bytes()[:-1])
    kinds = draw_kinds(0, DIM)
    with ColIndex.open(copied, n_threads=2) as index:
        exact = index.search(QUERIES[0], exact=True)
        assert index.search(QUERIES[0]) == exact
        add(index, cluster_documents(1, 3, kinds), 30_000)
        assert index.info()["optimize_due"] and not index.info()["n_prefiltered_segments"]
        add(index, cluster_documents(1_500, 4, kinds, (40, 65)), 40_000)
        info = index.info()
        assert info["optimize_due"] is None and index.check(deep=True).ok
        assert info["prefilter"] and info["n_prefiltered_segments"]
        # With so few dims, a recall of .99 needs most of the documents, so this one asks for .9.
        assert_prefiltered({"together": asked(index, recall=0.9), "one by one": []})
