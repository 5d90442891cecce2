"""Engines run in their own processes, and whatever goes wrong in one is reported, not hidden."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from benchmarks import contest, environments
from benchmarks.contest import Contest, Entrant, cost_at_recall
from benchmarks.corpora.synthetic import Shape, synthetic
from benchmarks.engine_process import EngineError, EngineProcess
from benchmarks.exact import Reference, WrongAnswerError, exact_best
from benchmarks.workload import Workload

SHAPE = Shape(n_docs=60, mean_tokens=9, n_queries=5, query_tokens=4, n_kinds=60, n_topics=5, dim=32)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tiny(home: Path) -> Workload:
    return synthetic(SHAPE, home)


def test_the_reference_is_maxsim_written_out(tiny: Workload) -> None:
    ids, scores = exact_best(tiny, n_best=60)
    for query, vectors in enumerate(tiny.queries):
        by_hand = [float((vectors @ document.T).max(1).sum()) for document in tiny.documents()]
        np.testing.assert_allclose(scores[query], np.sort(by_hand)[::-1], rtol=1e-4)
        np.testing.assert_allclose(np.array(by_hand)[ids[query]], scores[query], rtol=1e-4)


def test_the_reference_of_a_few_queries_is_that_of_all(tiny: Workload, tmp_path: Path) -> None:
    shutil.copytree(tiny.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("exact*"))
    few = Reference(tmp_path / "copy", n_queries=2)
    ids, scores = exact_best(tiny, n_best=60)
    np.testing.assert_array_equal(few.ids, ids[:2])
    np.testing.assert_allclose(few.scores, scores[:2], rtol=1e-6)
    assert len(Reference(tmp_path / "copy").ids) == 5


def test_the_same_seed_makes_the_same_workload(tiny: Workload, tmp_path: Path) -> None:
    again = synthetic(SHAPE, tmp_path)
    np.testing.assert_array_equal(again.docs, tiny.docs)
    np.testing.assert_array_equal(np.concatenate(again.queries), np.concatenate(tiny.queries))
    np.testing.assert_allclose(np.linalg.norm(tiny.docs.astype(np.float32), axis=1), 1, atol=1e-3)


def test_a_brute_force_engine_has_full_recall_and_a_missing_one_is_skipped_by_name(
    home: Path, tiny: Workload
) -> None:
    entrants = [Entrant("numpy_scan", "numpy_scan", exact=True), Entrant("tachiom", "tachiom")]
    opened = Contest(tiny, entrants, home, n_threads=1)
    [row] = opened.run(k=10, n_queries=5, seed=0)
    assert row["engine"] == "numpy_scan" and row["recall@10"] == 1.0 and row["hits_missing"] == 0
    assert row["cpu_median_ms"] > 0 and row["disk_bytes_per_token"] == pytest.approx(128, abs=2)
    assert opened.skipped == [
        {"engine": "tachiom", "why": "not installed; `python -m benchmarks peers install tachiom`"}
    ]


def test_an_engine_that_claims_to_be_exact_and_is_not_stops_the_run(home: Path, tiny: Workload) -> None:
    reference = Reference(tiny.folder)
    ids, scores = reference.ids[0, :10].tolist(), reference.scores[0, :10].tolist()
    reference.check(0, ids, scores, n_docs=60, exact=True)
    with pytest.raises(WrongAnswerError, match="off by"):
        reference.check(0, ids, [score + 0.01 for score in scores], n_docs=60, exact=True)
    with pytest.raises(WrongAnswerError, match="repeat or do not exist"):
        reference.check(0, [*ids[:9], ids[0]], scores, n_docs=60, exact=False)
    with pytest.raises(WrongAnswerError, match="not best first"):
        reference.check(0, ids, scores[::-1], n_docs=60, exact=False)


def test_a_peer_that_answers_wrongly_is_skipped_with_the_reason(home: Path, tiny: Workload) -> None:
    liar = Entrant("liar", "numpy_scan", exact=True)
    contest.build(liar, tiny, home, n_threads=1)
    stored = contest.index_folder(liar, tiny, home) / "docs.npy"
    right = np.load(stored)
    np.save(stored, right * np.float32(1.5))
    opened = Contest(tiny, [liar], home, n_threads=1)
    assert opened.run(k=10, n_queries=5, seed=0) == []
    assert "wrong answer: query 0: an exact engine is off by" in opened.skipped[0]["why"]
    np.save(stored, right)


def test_what_a_crashing_engine_said_is_reported(home: Path, tiny: Workload) -> None:
    with EngineProcess("numpy_scan", tiny.folder, home=home, n_threads=1) as process:
        with pytest.raises(EngineError, match="numpy_scan: FileNotFoundError"):
            process.ask("load", folder=str(home / "nowhere"), settings={})
        process.process.kill()
        process.process.wait()
        with pytest.raises(EngineError, match="killed by SIGKILL"):
            process.ask("memory")


def test_the_peak_memory_of_an_engine_is_not_that_of_the_process_that_started_it(
    home: Path, tiny: Workload
) -> None:
    heavy = np.ones(40_000_000)
    with EngineProcess("numpy_scan", tiny.folder, home=home, n_threads=1) as process:
        memory = process.ask("memory")
    assert memory["resident_bytes"] <= memory["peak_bytes"] < heavy.nbytes


def test_an_engine_that_does_not_answer_in_time_is_reported(home: Path, tiny: Workload) -> None:
    with EngineProcess("numpy_scan", tiny.folder, home=home, n_threads=1) as engine:
        # A stopped process cannot answer, however long this test has to wait for a processor.
        engine.process.send_signal(signal.SIGSTOP)
        with pytest.raises(EngineError, match="no answer within 0 s"):
            engine.ask("memory", 0.0)


def test_recall_counts_ties_at_the_border(home: Path, tiny: Workload) -> None:
    reference = Reference(tiny.folder)
    assert reference.recall(1, reference.ids[1, :10].tolist(), 10) == 1.0
    assert reference.recall(
        1, [*reference.ids[1, :9].tolist(), int(reference.ids[1, 30])], 10
    ) == pytest.approx(0.9)


def test_a_cost_is_read_off_the_curve_between_two_settings() -> None:
    curve = [
        {"recall@10": 0.8, "cpu_median_ms": 1.0},
        {"recall@10": 0.9, "cpu_median_ms": 4.0},
        {
            "recall@10": 0.85,
            "cpu_median_ms": 9.0,
        },  # slower than its neighbours on both sides, so not on the curve
    ]
    assert cost_at_recall(curve, 0.85) == pytest.approx(2.0)
    assert cost_at_recall(curve, 0.7) == 1.0
    assert cost_at_recall(curve, 0.95) is None


def test_a_peer_that_cannot_be_installed_says_why(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(environments.NotInstalledError, match="no peer 'nothing'"):
        environments.install("nothing", home)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(environments.NotInstalledError, match="install debootstrap"):
        environments.install("tachiom", home)


def test_an_index_is_kept_until_the_engine_changes(home: Path, tiny: Workload) -> None:
    entrant = Entrant("numpy_scan", "numpy_scan")
    first = contest.build(entrant, tiny, home, n_threads=1)
    assert contest.build(entrant, tiny, home, n_threads=1) == first
    assert contest.build(entrant, tiny, home, n_threads=1, again=True)["wall_ms"] != first["wall_ms"]
