"""A calibration scores few documents; its figures agree with those of scoring every document."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pytest

import colsearch_kernels as kernels
from colsearch.codec.rotated import RotatedCodec
from colsearch.prefilter import simulation as simulation_module
from colsearch.prefilter.calibration import Z_STEPS, Calibration
from colsearch.prefilter.fit import fit_prefilter
from colsearch.prefilter.model import LearnedPrefilter
from colsearch.prefilter.settings import PrefilterSettings
from colsearch.prefilter.simulation import RecallSimulation
from colsearch.prefilter.synthetic_queries import token_span_queries
from colsearch.types import F32, I64
from tests.support.clusters import DIM, cluster_documents, draw_kinds

N_DOCS, N_QUERIES = 4_000, 64
Fitted: TypeAlias = tuple[LearnedPrefilter, RotatedCodec, kernels.Codes, list[F32]]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    documents = cluster_documents(N_DOCS, 1, draw_kinds(0))
    codec = RotatedCodec(DIM)
    encoded = codec.encode(np.concatenate(documents))
    offsets = np.cumsum([0, *(len(document) for document in documents)])
    codes = codec.codes(encoded.planes, encoded.widths, offsets)
    rng = np.random.default_rng(0)
    runs = token_span_queries(codes, codec, 500, rng)
    # Too few landmarks and dims to find everything at once.
    settings = PrefilterSettings(n_probes=256, n_landmarks=16, n_dims=16)
    prefilter = fit_prefilter(codec, codes, np.concatenate(runs), runs, 2, settings)
    return prefilter, codec, codes, token_span_queries(codes, codec, N_QUERIES, rng)


def simulated(fitted: Fitted, n_segments: int = 1) -> RecallSimulation:
    prefilter, codec, codes, queries = fitted
    simulation = RecallSimulation(prefilter, codec, queries, 2)
    for part in np.array_split(np.arange(N_DOCS), n_segments):
        first, last = part[0], part[-1] + 1
        start, stop = codes.offsets[[first, last]]
        piece = codec.codes(
            [plane[start:stop] for plane in codes.planes],
            [width[start:stop] for width in codes.widths],
            codes.offsets[first : last + 1] - start,
        )
        document_codes = prefilter.document_codes(piece, np.arange(len(part)), 2)
        simulation.add(document_codes, piece, np.ones(len(part), bool))
    return simulation


def found_share(fitted: Fitted, n: int, k: int, z: float) -> float:
    """The share of the k best documents by MaxSim that following the n best candidates finds."""
    return float(np.mean([share for share, _ in followed(fitted, n, k, z)]))


def followed(fitted: Fitted, n: int, k: int, z: float) -> Iterator[tuple[float, int]]:
    """For each query, that share and the number of documents scored until the stop rule applies."""
    prefilter, codec, codes, queries = fitted
    index = prefilter.index([prefilter.document_codes(codes, np.arange(N_DOCS), 2)])
    documents = kernels.Scattered([codes])
    for query in (codec.prepare_query(query) for query in queries):
        vector, baseline = prefilter.embed_query(query)
        rows, products = index.search(vector, n)
        scorer = kernels.ScatteredScorer(query, documents, n_planes=1)
        scored = scorer.follow(rows, products + np.float32(baseline), k=k, stop_deviations=z)
        scores = kernels.score_codes(query, codes)
        met = scores[rows[: len(scored.scores)]]
        yield min((met >= np.sort(scores)[-k]).sum(), k) / k, len(scored.scores)


@pytest.mark.parametrize("z", [0.0, 2.0, 4.0])
def test_a_simulation_finds_what_following_the_candidates_finds(
    fitted: Fitted, z: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All documents are candidates, so nothing has to be extrapolated.
    monkeypatch.setattr(simulation_module, "_N_CANDIDATES", N_DOCS)
    shares, n_scored = zip(*followed(fitted, N_DOCS, 10, z))
    simulation = simulated(fitted)
    assert simulation.recall_at(z, 10, N_QUERIES) == pytest.approx(np.mean(shares), abs=0.005)
    step = list(Z_STEPS).index(z)
    assert simulation.n_scored(10, range(N_QUERIES))[:, step].tolist() == list(n_scored)
    assert found_share(fitted, N_DOCS, 10, 0.0) < 0.9


def test_best_documents_beyond_the_candidates_count_as_missed(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_N_CANDIDATES", "_N_DEEP"):
        monkeypatch.setattr(simulation_module, name, 1_000)
    measured = simulated(fitted).recalls(10, range(N_QUERIES))[:, -1].mean()
    true = found_share(fitted, 1_000, 10, 8.0)
    # The candidates alone would suggest a recall of 1.
    assert 0.7 < true < 0.96
    assert measured == pytest.approx(true, abs=0.03)


def test_a_document_that_coarse_codes_miss_counts_once(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_N_CANDIDATES", "_N_DEEP"):
        monkeypatch.setattr(simulation_module, name, 1_500)
    # Every document that is no candidate is scored too, so nothing has to be extrapolated.
    monkeypatch.setattr(simulation_module, "_N_MISSED_BY_COARSE", N_DOCS)
    measured = simulated(fitted).recalls(10, range(N_QUERIES))[:, -1].mean()
    assert measured == pytest.approx(found_share(fitted, 1_500, 10, 8.0), abs=0.005)


def test_the_simulated_recall_is_the_same_for_one_segment_and_for_three(fitted: Fitted) -> None:
    whole, parts = simulated(fitted), simulated(fitted, 3)
    z = 2.0
    assert parts.recall_at(z, 10, N_QUERIES) == pytest.approx(whole.recall_at(z, 10, N_QUERIES), abs=0.02)


def test_calibration_picks_the_smallest_step_that_keeps_the_promise() -> None:
    grid = 37
    recall = np.stack([np.linspace(0.9, 1.0, grid), np.linspace(0.5, 0.9, grid)]).astype(np.float32)
    calibration = Calibration.from_json(Calibration(recall).to_json())
    # The safety factor allows half of the misses that a recall of .98 does.
    assert calibration.stop_deviations(0.98, 10) == pytest.approx(
        -1 + 0.25 * int(np.argmax(recall[0] >= 0.99))
    )
    assert calibration.measured_deviations(0.98, 10) == pytest.approx(
        -1 + 0.25 * int(np.argmax(recall[0] >= 0.98))
    )
    # Without the safety factor, the largest step reaches .9 and no step reaches more.
    assert calibration.stop_deviations(0.9, 50) == 8.0 and calibration.measured_deviations(0.91, 50) is None
    assert calibration.stop_deviations(0.91, 50) is None and calibration.stop_deviations(0.99, 50) is None
    for bad in (None, [[1.0]], [[float("nan")] * grid] * 2):
        with pytest.raises((ValueError, TypeError)):
            Calibration.from_json(bad)


def test_no_calibration_promises_more_than_real_queries_of_other_collections_found() -> None:
    perfect = Calibration(np.ones((2, 37), np.float32))
    # Real queries miss a tenth between z = 1 and 2, a hundredth between 3 and 4; for k = 100, at a lower z.
    assert [perfect.stop_deviations(recall, 10) for recall in (0.9, 0.95, 0.99)] == [1.5, 2.5, 3.75]
    assert [perfect.stop_deviations(recall, 100) for recall in (0.9, 0.95, 0.99)] == [1.25, 1.75, 3.0]
    # There were too few real queries to justify so high a recall, so the largest step is taken.
    assert perfect.stop_deviations(0.99999, 10) == 8.0


def test_hits_that_no_stop_rule_finds_do_not_raise_the_stop_deviations() -> None:
    """The ten best documents of one query in 128 lie beyond all candidates, so no stop rule finds them."""
    others = np.minimum(np.linspace(0.9, 1.02, 37), 1).astype(np.float32)
    found = np.stack([others * np.float32(127 / 128)] * 2)
    lost = Calibration(found).stop_deviations(0.99, 10)
    assert lost is not None and found[0, int((lost + 1) * 4)] >= found[0, -1] - 0.001
    assert lost < 7
    # If three such queries are lost, no step reaches .99.
    assert Calibration(found * np.float32(126 / 128)).stop_deviations(0.99, 10) is None


def test_memory_is_released_block_by_block_and_blocks_change_no_figure(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefilter, codec, codes, queries = fitted
    whole = simulated(fitted).calibration()
    n_read_at_once: list[int] = []
    held: set[int] = set()

    def read(original: Callable[..., F32], *arguments: Any, ordinals: I64, **options: Any) -> F32:
        held.update(ordinals.tolist())
        return original(*arguments, ordinals=ordinals, **options)

    def release() -> None:
        n_read_at_once.append(len(held))
        held.clear()

    for name in ("score_codes", "score_codes_batch"):
        monkeypatch.setattr(kernels, name, partial(read, getattr(kernels, name)))
    monkeypatch.setattr(simulation_module, "_DOCS_PER_BLOCK", 100)
    simulation = RecallSimulation(prefilter, codec, queries, 2)
    document_codes = prefilter.document_codes(codes, np.arange(N_DOCS), 2)
    simulation.add(document_codes, codes, np.ones(N_DOCS, bool), release)
    assert simulation.calibration().to_json() == whole.to_json()
    assert not held and max(n_read_at_once) <= 100 < sum(n_read_at_once)
