"""`colsearch bench`: the figures are right, and the advice follows from them."""

from pathlib import Path

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.errors import ConfigError
from colsearch.evaluation.bench import advice, bench_index


@pytest.fixture
def index(tmp_path: Path) -> ColIndex:
    rng = np.random.default_rng(5)
    opened = ColIndex.create(tmp_path / "index", dim=32)
    opened.add_vectors([rng.standard_normal((n, 32)).astype(np.float32) for n in rng.integers(1, 9, 40)])
    return opened


def queries(n: int) -> list[np.ndarray]:
    return list(np.random.default_rng(6).standard_normal((n, 4, 32)).astype(np.float32))


def test_a_small_index_is_searched_exactly_so_recall_is_one(index: ColIndex) -> None:
    measured = bench_index(index, queries(6), k=5)
    assert measured.recall == (1.0, 1.0, 1.0)
    assert (measured.n_docs, measured.n_queries, measured.k) == (40, 6, 5)
    assert 0 < measured.wall_ms["p50"] <= measured.wall_ms["p95"] <= measured.wall_ms["p99"]
    assert measured.exact_ms > 0 and measured.n_candidates == 40
    assert measured.bytes_per_token == index.info()["bytes_per_token"]
    assert measured.to_json()["recall"] == (1.0, 1.0, 1.0)


def test_no_queries_and_an_empty_index_are_refused_with_a_remedy(index: ColIndex, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--queries FILE"):
        bench_index(index, [])
    with pytest.raises(ConfigError, match="is empty"):
        bench_index(ColIndex.create(tmp_path / "empty", dim=32), queries(1))


FINE = {
    "wall_ms": {"p50": 1.0, "p95": 1.2},
    "cpu_ms": {"p50": 1.0, "p95": 1.2},
    "stage_ms": {"score": 1.0},
    "recall": (0.97, 0.95, 0.99),
    "promised": 0.98,
    "info": {"optimize_due": None},
}


@pytest.mark.parametrize(
    ("changed", "advised"),
    [
        ({"info": {"optimize_due": "no prefilter yet"}}, "no prefilter yet: run `colsearch optimize`"),
        ({"promised": 0.995}, "below the promised 0.995"),
        ({"stage_ms": {"encode": 9.0, "score": 1.0}}, "encoding the query takes 90%"),
        ({"wall_ms": {"p50": 3.0, "p95": 3.1}}, "waits 2.0 ms without computing"),
        ({"wall_ms": {"p50": 1.0, "p95": 9.0}}, "five times slower"),
    ],
)
def test_each_weakness_has_its_advice_and_no_other(changed: dict[str, object], advised: str) -> None:
    [sentence] = advice(**{**FINE, **changed})  # type: ignore[arg-type]
    assert advised in sentence


def test_nothing_is_said_when_all_is_well() -> None:
    assert advice(**FINE) == []  # type: ignore[arg-type]
