"""An index whose codes lie on a torch device finds what the CPU finds, to the bit; on a GPU where there is one."""

import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from colsearch import ColIndex
from colsearch.errors import ConfigError, DamagedError
from colsearch.store import container

DIM, N_DOCS = 32, 300
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def documents(rng: np.random.Generator, n_docs: int) -> list[np.ndarray]:
    # Few different values, so that scores tie; some documents have no tokens.
    return [rng.integers(1, 3, (n, DIM)).astype(np.float32) for n in rng.integers(0, 5, n_docs)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    with ColIndex.create(tmp_path / "index", dim=DIM) as index:
        for first in (0, 200):
            added = documents(rng, 200 if first == 0 else N_DOCS - 200)
            numbers = range(first, first + len(added))
            index.add_vectors(added, ids=numbers, metadata=[{"even": n % 2 == 0} for n in numbers])
        index.delete([3, 250])
    return tmp_path / "index"


def queries(n: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    return [rng.standard_normal((length, DIM)).astype(np.float32) for length in range(1, n + 1)]


def found(index: ColIndex, **options: object) -> list[list[tuple[object, float]]]:
    # More than all documents, so that a missing or surplus one would show.
    results = index.search(list(queries()), 2 * N_DOCS, **options)  # type: ignore[call-overload]
    return [[(hit.id, hit.score) for hit in hits] for hits in results]


@pytest.mark.parametrize("where", [None, {"even": True}])
def test_hits_are_those_of_the_cpu(path: Path, device: str, where: dict[str, bool] | None) -> None:
    with ColIndex.open(path) as on_cpu, ColIndex.open(path, device=device) as on_device:
        expected = found(on_cpu, exact=True, where=where)
        assert found(on_device, where=where) == expected
        [query] = queries(1)
        single = on_device.search(query, 2 * N_DOCS, where=where)
        assert [(hit.id, hit.score) for hit in single] == expected[0]


def test_reranking_and_other_candidates_give_the_cpus_scores(path: Path, device: str) -> None:
    query = queries()[-1]
    ids = [7, 290, 0, 120, 8, 9, 10]
    with ColIndex.open(path) as on_cpu, ColIndex.open(path, device=device) as on_device:
        for index in (on_cpu, on_device):
            index.search(query, 3)
        assert list(on_device.rerank(query, ids)) == list(on_cpu.rerank(query, ids))
        mixed = [index.search(query, 5, candidates=lambda q, n: ids) for index in (on_cpu, on_device)]
        assert list(mixed[0]) == list(mixed[1])


def test_writes_are_seen_and_what_is_merged_away_is_freed(path: Path, device: str) -> None:
    rng = np.random.default_rng(5)
    with ColIndex.open(path) as index, ColIndex.open(path, device=device) as on_device:
        found(on_device)
        copies = [weakref.ref(copy) for copy in on_device._scorer.device._copies.values()]
        assert copies
        on_device.add_vectors(documents(rng, 50), ids=range(1000, 1050))
        on_device.delete([0, 1001])
        assert found(on_device) == found(index, exact=True)
        on_device.compact()
        assert found(on_device) == found(index, exact=True)
        gc.collect()
        assert not any(copy() for copy in copies)


def test_many_threads_find_the_same(path: Path, device: str) -> None:
    with ColIndex.open(path) as on_cpu, ColIndex.open(path, device=device) as index:
        expected = found(on_cpu, exact=True)
        # Their first searches copy the segments at the same time.
        with ThreadPoolExecutor(8) as pool:
            for hits in pool.map(lambda _: found(index), range(32)):
                assert hits == expected


def test_no_prefilter_is_asked(path: Path, device: str) -> None:
    with ColIndex.open(path, device=device) as index:
        hits = index.search(queries()[0], 3, profile=True)
        assert hits.profile is not None
        assert hits.profile.n_scored == len(index)


def test_a_damaged_segment_is_not_copied(path: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ColIndex.open(path) as index:
        segment = index._store.snapshot().segments[0].segment
        plane, file = segment.planes[0].tobytes(), segment.file.path
    data = bytearray(file.read_bytes())
    data[data.find(plane)] ^= 1
    file.write_bytes(data)
    # Treat the segment as too large to be verified at open.
    monkeypatch.setattr(container, "VERIFY_AT_OPEN_BYTES", 0)
    with ColIndex.open(path, device=device) as index, pytest.raises(DamagedError, match=file.name):
        index.search(queries()[0])


@pytest.mark.parametrize("name", ["abacus", "cpu:7:7", "cuda:97"])
def test_a_device_that_torch_cannot_use_is_named(path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"device='{name}'"):
        ColIndex.open(path, device=name)


def test_a_worker_opens_it_on_the_same_device(path: Path, device: str) -> None:
    with ColIndex.open(path, device=device) as index:
        copy = pickle.loads(pickle.dumps(index))
        with copy:
            assert copy._scorer.device.name == device
            assert found(copy) == found(index)
