"""The check of a killed writer's index sees lost and swapped documents, and an index that does not open."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.durability import documents
from benchmarks.durability.process import import_store, inspect, judged, spoil
from benchmarks.figures.figure_durability import summary

N_DOCS = 20


@pytest.fixture
def faiss_folder(tmp_path: Path) -> Path:
    import_store("faiss").create(tmp_path / "index", [documents.vectors(n) for n in range(N_DOCS)])
    return tmp_path / "index"


class Shifted:
    """From document 10 on, it answers with the next document's number; document 3 is lost."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def search(self, query: Any, k: int) -> tuple[list[int], list[float]]:
        ids, scores = self.inner.search(query, k)
        if ids[0] == 3:
            return self.inner.search(documents.vectors(999), k)
        return [number + (number >= 10) for number in ids], scores


def test_a_lost_document_and_one_under_anothers_number_are_told_apart(faiss_folder):
    adapter = import_store("faiss")
    store = adapter.Store(faiss_folder)
    assert judged(store, range(N_DOCS), adapter.FULL_SCORE) == {"lost": [], "wrong": [], "errors": []}
    found = judged(Shifted(store), range(N_DOCS + 1), adapter.FULL_SCORE)
    assert found == {"lost": [3, N_DOCS], "wrong": list(range(10, N_DOCS)), "errors": []}


def test_a_truncated_file_does_not_open_and_a_whole_one_takes_another_document(faiss_folder):
    adapter = import_store("faiss")
    whole = inspect(adapter, faiss_folder, {}, numbers=range(N_DOCS))
    assert whole == {"opens": True, "lost": [], "wrong": [], "errors": [], "writes": True}
    file = faiss_folder / adapter.FILE_NAME
    file.write_bytes(file.read_bytes()[:-100])
    cut = inspect(adapter, faiss_folder, {}, numbers=range(N_DOCS))
    assert not cut["opens"] and "RuntimeError" in cut["error"]
    counted = summary([{**end, "n_acknowledged": 4} for end in (whole, cut)])
    assert (counted["unopenable"], counted["unharmed"], counted["n_acknowledged"]) == (1, 1, 8)
    assert counted["errors"] == [cut["error"]]


def test_we_refuse_a_nan_and_the_hits_that_it_changes_in_another_engine_are_counted(tmp_path):
    adapter = import_store("colsearch")
    adapter.create(tmp_path / "index", [documents.vectors(n) for n in range(N_DOCS)])
    answer = spoil(adapter, tmp_path / "index", {}, numbers=range(N_DOCS), n_docs=N_DOCS)
    assert (
        answer["refused"].startswith("VectorError: document 20: token 4 holds NaN") and not answer["changed"]
    )

    class Spoilt(adapter.Store):
        spoilt = False

        def add(self, number: int, document: Any) -> None:
            assert np.isnan(document).any()
            Spoilt.spoilt = True

        def search(self, query: Any, k: int) -> tuple[list[int], list[float]]:
            ids, scores = super().search(query, k)
            return ids, [score / 2 if self.spoilt and ids[0] == 7 else score for score in scores]

    adapter.Store = Spoilt
    answer = spoil(adapter, tmp_path / "index", {}, numbers=range(N_DOCS), n_docs=N_DOCS)
    assert answer == {"refused": None, "changed": [7]}
