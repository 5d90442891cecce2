"""The learned prefilter through ColIndex: recall as promised, whatever is added, deleted or filtered."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.prefilter import maintenance, state
from colsearch.prefilter.model import LearnedPrefilter
from colsearch.prefilter.simulation import RecallSimulation
from colsearch.prefilter.synthetic_queries import synthetic_queries
from colsearch.scoring import cost
from colsearch.types import F32, I64
from colsearch_kernels import Codes
from tests.support.clusters import DIM, cluster_documents, draw_kinds, draw_queries
from tests.support.prefilters import use_small_prefilters


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """A prefilter for thousands of documents, with fewer probes and dims, fitted in a second."""
    with pytest.MonkeyPatch.context() as patch:
        use_small_prefilters(patch, cheap_scan_ns=2e5, n_probes=1024, n_landmarks=256, n_dims=192)
        yield


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ColIndex]:
    kinds = draw_kinds(0)
    with ColIndex.create(tmp_path_factory.mktemp("learned") / "index", dim=DIM, n_threads=2) as index:
        index.add_vectors(
            cluster_documents(6_000, 1, kinds),
            ids=range(6_000),
            metadata=({"half": n % 2, "tenth": n % 10, "hundredth": n % 100} for n in range(6_000)),
        )
        yield index


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 3,000 documents with a prefilter, which tests copy before they change it."""
    path = tmp_path_factory.mktemp("fitted") / "index"
    with ColIndex.create(path, dim=DIM, n_threads=2) as index:
        index.add_vectors(cluster_documents(3_000, 3, draw_kinds(0)), ids=range(3_000))
        assert index.info()["prefilter"]
    return path


@pytest.fixture
def copied(tmp_path: Path, fitted: Path) -> Path:
    return Path(shutil.copytree(fitted, tmp_path / "index"))


def test_a_bulk_add_fits_it_and_searching_scores_a_small_part(index: ColIndex) -> None:
    info = index.info()
    assert info["prefilter"] and info["n_prefiltered_segments"] >= 1 and info["optimize_due"] is None
    [query] = draw_queries(1, 5, draw_kinds(0))
    hits = index.search(query, profile=True)
    assert hits.profile is not None and 10 <= hits.profile.n_candidates < 4000
    best = index.search(query, exact=True, profile=True)
    assert best.profile is not None and best.profile.n_candidates == 6_000
    exact = {hit.id: hit.score for hit in index.search(query, k=6_000, exact=True)}
    assert all(hit.score == exact[hit.id] for hit in hits)


@pytest.mark.parametrize("recall", [0.9, 0.95, 0.99])
def test_recall_is_as_promised_on_queries_it_never_saw(index: ColIndex, recall: float) -> None:
    audit = index.audit(draw_queries(300, 6, draw_kinds(0)), recall=recall)
    assert audit.recall >= recall - 0.01
    assert audit.share_scored < 0.5 and not audit.made_up


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_many_queries_at_once_give_what_each_gives_alone(index: ColIndex, n_threads: int) -> None:
    queries = draw_queries(20, 7, draw_kinds(0))
    with ColIndex.open(index.path, read_only=True, n_threads=n_threads) as again:
        together = again.search(queries, k=7)
    assert [[(h.id, h.score) for h in hits] for hits in together] == [
        [(h.id, h.score) for h in index.search(query, k=7)] for query in queries
    ]


@pytest.mark.parametrize("tenths, scanned", [([1], True), ([1, 2], False)])
def test_documents_that_lie_apart_are_scanned_while_that_is_cheap(
    index: ColIndex, tenths: list[int], scanned: bool
) -> None:
    """26,000 tokens cost .7 of a cheap scan if they lie together, and more than one if they are scattered."""
    [query] = draw_queries(1, 8, draw_kinds(0))
    hits = index.search(query, where={"tenth": {"$in": tenths}}, profile=True)
    assert hits.profile is not None and (hits.profile.n_candidates == 600 * len(tenths)) == scanned


@pytest.mark.parametrize("field, n", [("half", 2), ("tenth", 10), ("hundredth", 100)])
def test_a_filter_costs_no_recall(index: ColIndex, field: str, n: int) -> None:
    found = total = 0
    for query in draw_queries(40, 8, draw_kinds(0)):
        hits = index.search(query, where={field: 1})
        best = index.search(query, where={field: 1}, exact=True)
        assert all(int(hit.id) % n == 1 for hit in hits)
        found += sum(hit.score >= best[-1].score for hit in hits)
        total += len(best)
    assert found >= 0.98 * total


def test_the_same_documents_give_the_same_files_for_any_number_of_threads(tmp_path: Path) -> None:
    kinds = draw_kinds(0)
    documents = cluster_documents(3_000, 2, kinds)
    names = []
    for n_threads in (1, 2):
        with ColIndex.create(tmp_path / str(n_threads), dim=DIM, n_threads=n_threads) as index:
            index.add_vectors(documents)
            names.append(sorted(path.name for path in (tmp_path / str(n_threads)).glob("*/*")))
    assert names[0] == names[1] and any(name.endswith(".pre") for name in names[0])


def test_it_follows_deletes_updates_and_merges(copied: Path) -> None:
    kinds = draw_kinds(0)
    with ColIndex.open(copied) as index:
        queries = draw_queries(30, 9, kinds)
        gone = {hit.id for hits in index.search(queries, k=10) for hit in hits}
        index.delete(gone)
        assert not gone & {hit.id for hits in index.search(queries, k=10) for hit in hits}
        # A new document is in the tail, where it is found at once.
        index.add_vectors([queries[0]], ids=["new"])
        assert index.search(queries[0], k=1)[0].id == "new"
        index.delete("new")
        before = index.info()
        index.compact()
        assert index.info()["n_segments"] == 1 == index.info()["n_prefiltered_segments"]
        assert index.info()["prefilter"] == before["prefilter"]
        assert index.audit(draw_queries(100, 11, kinds), recall=0.95).recall >= 0.94


def test_a_merge_carries_over_what_is_known(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = draw_kinds(0)
    embedded: list[int] = []
    embed = LearnedPrefilter.embed_documents

    def counted(self: LearnedPrefilter, codes: Codes, ordinals: I64, n_threads: int) -> F32:
        embedded.append(len(ordinals))
        return embed(self, codes, ordinals, n_threads)

    with ColIndex.open(copied) as index:
        index.add_vectors(cluster_documents(20, 9, kinds))
        monkeypatch.setattr(LearnedPrefilter, "embed_documents", counted)
        index.delete([7, 3_005])
        index.compact()
        assert index.info()["n_segments"] == 1 and index.info()["n_prefiltered_segments"] == 0
        queries = draw_queries(20, 13, kinds)
        exact = index.search(queries, exact=True)
        assert index.optimize() and sum(embedded) == 19
        assert index.info()["n_prefiltered_segments"] == 1
        hits = index.search(queries, recall=0.99)
        found = sum(
            hit.score >= best[-1].score for best_found, best in zip(hits, exact) for hit in best_found
        )
        assert found >= 0.97 * 200


def test_recall_is_not_measured_on_pieces_of_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own document answers such a query too easily. None occurs in fits, calibrations or audits."""
    asked: list[F32] = []

    class Noted(RecallSimulation):
        def __init__(self, *arguments: Any) -> None:
            asked.extend(arguments[2])
            super().__init__(*arguments)

    monkeypatch.setattr(maintenance, "RecallSimulation", Noted)
    kinds = draw_kinds(0)
    with ColIndex.create(tmp_path / "index", dim=DIM) as index:
        index.add_vectors(cluster_documents(3_000, 4, kinds))
        index.add_vectors(cluster_documents(3_000, 5, kinds))
        snapshot, settings = index._store.snapshot(), index._maintainer.settings
        asked += synthetic_queries(
            snapshot, index._scorer, index._encoder, settings, 300, seed=1, n_threads=1
        )
        pieces = [index.search(query, k=1, exact=True)[0].score > 0.999 * (query**2).sum() for query in asked]
    assert len(asked) == 2 * 128 + 300 and np.mean(pieces) < 0.02


@pytest.mark.parametrize("recall", [0.9, 0.95, 0.99])
def test_the_promise_holds_when_the_index_has_grown_tenfold(grown: ColIndex, recall: float) -> None:
    audit = grown.audit(draw_queries(300, 11, draw_kinds(0)), recall=recall)
    assert audit.recall >= recall - 0.01
    assert audit.share_scored < 0.5


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ColIndex]:
    kinds = draw_kinds(0)
    with ColIndex.create(tmp_path_factory.mktemp("grown") / "index", dim=DIM, n_threads=2) as index:
        for size, seed in ((1_100, 20), (1_100, 21), (2_200, 22), (6_600, 23)):
            index.add_vectors(cluster_documents(size, seed, kinds))
        yield index


@pytest.mark.parametrize("kind", ["*.model", "*.pre"])
@pytest.mark.parametrize("damage", ["flipped", "gone", "foreign"])
def test_damaged_prefilter_files_cost_speed_and_no_hit(copied: Path, kind: str, damage: str) -> None:
    [query] = draw_queries(1, 12, draw_kinds(0))
    with ColIndex.open(copied) as index:
        exact = [(hit.id, hit.score) for hit in index.search(query, exact=True)]
    [path, *_] = copied.glob(f"*/{kind}")
    content = bytearray(path.read_bytes())
    path.chmod(0o644)
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    else:
        [other, *_] = copied.glob("*/*.seg")
        path.write_bytes(other.read_bytes())
    with ColIndex.open(copied) as index:
        assert [(hit.id, hit.score) for hit in index.search(query)] == exact
        assert not index.check().ok
        assert index.optimize()
        assert index.check(deep=True).ok
        hits = index.search(query, profile=True)
        assert hits.profile is not None and hits.profile.n_candidates < 3_000


def test_a_fit_that_fails_is_no_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    kinds = draw_kinds(0)
    monkeypatch.setattr(maintenance, "fit_prefilter", fail)
    with ColIndex.create(tmp_path / "index", dim=DIM) as index:
        assert index.add_vectors(cluster_documents(3_000, 14, kinds)) == 3_000
        assert len(index) == 3_000 and index.info()["optimize_due"]
        assert len(index.search(draw_queries(1, 15, kinds)[0])) == 10
        monkeypatch.undo()
        monkeypatch.setattr(cost, "CHEAP_SCAN_NS", 2e5)
        assert index.optimize() and index.info()["prefilter"]


def test_a_model_of_another_release_is_left_aside_and_made_anew(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [query] = draw_queries(1, 8, draw_kinds(0))
    with ColIndex.open(copied, n_threads=2) as index:
        before = index.search(query, exact=True)
    for module in (state, maintenance):
        monkeypatch.setattr(module, "MODEL_META", {"kind": "learned prefilter", "version": 99})
    with ColIndex.open(copied, n_threads=2) as index:
        scanned = index.search(query, profile=True)
        assert list(scanned) == list(before)
        assert scanned.profile is not None and scanned.profile.n_candidates == 3_000
        assert index.info()["optimize_due"] and index.optimize() and not index.info()["optimize_due"]
        again = index.search(query, profile=True)
        assert again.profile is not None and again.profile.n_candidates < 3_000
