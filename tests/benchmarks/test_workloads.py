"""The inputs of the figures: pooled tokens, grown collections, kinds of tokens, judged runs."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.corpora.growth import Grown
from benchmarks.corpora.pooling import pool, pool_document
from benchmarks.corpora.reduced import reduced
from benchmarks.corpora.synthetic import Shape, synthetic
from benchmarks.corpora.vectors import surfaces
from benchmarks.metrics import per_query_figures, quality
from benchmarks.workload import Workload

SHAPE = Shape(n_docs=40, mean_tokens=9, n_queries=3, query_tokens=4, n_kinds=60, n_topics=5, dim=32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return synthetic(SHAPE, tmp_path_factory.mktemp("home"))


def test_pooling_merges_the_tokens_that_are_alike() -> None:
    tokens = np.array([[1, 0, 0], [0, 1, 0], [0.99, 0.1, 0], [0, 0.99, 0.1]], np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    pooled = pool_document(tokens, 2)
    expected = np.stack([tokens[[0, 2]].mean(0), tokens[[1, 3]].mean(0)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    order = np.argsort(-pooled[:, 0])
    np.testing.assert_allclose(pooled[order], expected, atol=1e-6)


def test_pooling_leaves_about_one_token_in_two_and_at_least_one(tiny: Workload) -> None:
    vectors, doclens = pool(tiny, 2)
    assert doclens.min() >= 1 and doclens.sum() == len(vectors)
    assert (doclens <= np.maximum(1, tiny.doclens // 2)).all()
    same, lengths = pool(tiny, 1)
    np.testing.assert_array_equal(lengths, tiny.doclens)
    np.testing.assert_array_equal(same, np.asarray(tiny.docs, np.float32))


def test_a_grown_collection_starts_with_the_real_documents_and_never_repeats_one(tiny: Workload) -> None:
    grown = Grown(tiny, seed=0)
    for number, real in enumerate(tiny.iterate()):
        np.testing.assert_array_equal(grown.document(number), real)
    later = grown.document(40)
    assert len(later) == tiny.doclens[0] and not np.array_equal(later, grown.document(0))
    assert not np.array_equal(later, grown.document(80)), "the same source makes another document each time"
    np.testing.assert_array_equal(later, Grown(tiny, seed=0).document(40))
    np.testing.assert_allclose(np.linalg.norm(later, axis=1), 1, atol=1e-5)


def test_a_token_is_named_by_its_text() -> None:
    spans = np.array([[0, 0], [0, 3], [4, 7], [0, 2]], np.int32)
    tokens = SimpleNamespace(spans=spans, doclens=np.array([3, 1]), vectors=np.zeros((4, 2)))
    assert list(surfaces(["The cat", "go"], tokens)) == ["", "the", "cat", "go"]


def test_quality_is_the_textbook_figure_and_a_query_without_hits_counts_as_zero() -> None:
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}}
    run = {"q1": [("a", 2.0)], "q2": [("x", 5.0), ("b", 5.0)], "q3": []}
    figures = per_query_figures(run, qrels)
    assert figures["ndcg@10"] == pytest.approx({"q1": 1.0, "q2": 1 / np.log2(3), "q3": 0.0})
    assert figures["mrr@10"] == pytest.approx({"q1": 1.0, "q2": 0.5, "q3": 0.0})
    row = quality(run, qrels)
    assert row["recall@100"] == pytest.approx(2 / 3, abs=1e-4)
    low, high = row["mrr@10_interval"]
    assert low <= row["mrr@10"] <= high


def test_a_reduced_workload_keeps_what_lies_in_its_dimensions_and_is_unit_again(tmp_path: Path) -> None:
    work = synthetic(SHAPE, tmp_path)
    flat = np.random.default_rng(0).standard_normal((8, 32), dtype=np.float32)
    inside = np.asarray(work.docs, np.float32)[:, :8] @ flat
    inside /= np.linalg.norm(inside, axis=1, keepdims=True)
    (tmp_path / "flat").mkdir()
    shutil.copyfile(work.token_ids, tmp_path / "flat" / "token_ids.npy")
    small = reduced(replace(work, folder=tmp_path / "flat", docs=inside.astype(np.float16)), 8)
    assert small.docs.shape == (len(work.docs), 8) and small.about["name"] == "synthetic-8"
    was, now = inside[:50] @ inside[:50].T, small.docs[:50].astype(np.float32) @ small.docs[:50].T
    np.testing.assert_allclose(now, was, atol=4e-3)
    for query in small.queries:
        np.testing.assert_allclose(np.linalg.norm(query, axis=1), 1, atol=1e-5)
