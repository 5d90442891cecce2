"""MTEB's search protocol over a real index; `make test-system` installs MTEB and runs it too."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from colsearch.errors import ConfigError
from colsearch.integrations.mteb import ColIndexSearch, retrieval_task
from colsearch.types import TokenVectors

DOCUMENTS = {"d1": "red fox", "d2": "blue whale", "d3": "red whale"}
QUERIES = {"q1": "fox", "q2": "blue"}


class Words:
    """One fixed random vector per word, so that MaxSim counts shared words."""

    dim = 32
    fingerprint = "words"

    def encode_document(self, texts: Any) -> TokenVectors:
        words = [text.split() for text in texts]
        vectors = [self._vector(word) for words_of_text in words for word in words_of_text]
        return TokenVectors(np.array(vectors, np.float32), np.array([*map(len, words)], np.int64))

    encode_query = encode_document

    def _vector(self, word: str) -> Any:
        vector = np.random.default_rng(list(word.encode())).standard_normal(self.dim)
        return vector / np.linalg.norm(vector)


class Rows(list):
    """A list of rows whose columns can be read by name, as in `datasets.Dataset`."""

    def __getitem__(self, key: Any) -> Any:
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


def rows(texts: dict[str, str]) -> Rows:
    return Rows({"id": name, "text": text, "title": ""} for name, text in texts.items())


@pytest.fixture
def search(tmp_path: Path) -> ColIndexSearch:
    return ColIndexSearch(tmp_path, Words())


def indexed(search: ColIndexSearch) -> ColIndexSearch:
    search.index(
        rows(DOCUMENTS), task_metadata=SimpleNamespace(name="t"), hf_split="test", hf_subset="default"
    )
    return search


def test_every_query_gets_its_documents_best_first_under_their_own_ids(search: ColIndexSearch) -> None:
    run = indexed(search).search(rows(QUERIES), top_k=2)
    assert [max(hits, key=hits.__getitem__) for hits in run.values()] == ["d1", "d2"]
    assert all(len(hits) == 2 for hits in run.values())


def test_reranking_scores_the_given_documents_alone(search: ColIndexSearch) -> None:
    run = indexed(search).search(rows({"q1": "fox"}), top_k=5, top_ranked={"q1": ["d3", "d2"]})
    assert run["q1"].keys() == {"d2", "d3"}


def test_a_second_corpus_replaces_the_first(search: ColIndexSearch) -> None:
    indexed(search)
    run = indexed(search).search(rows({"q1": "fox"}), top_k=9)
    assert run["q1"].keys() == DOCUMENTS.keys()


def test_a_search_before_the_corpus_is_refused(search: ColIndexSearch) -> None:
    with pytest.raises(ConfigError, match="before it gave a corpus"):
        search.search(rows(QUERIES), top_k=1)


@pytest.mark.system
def test_a_whole_task_runs_offline_through_mteb(search: ColIndexSearch) -> None:
    import mteb

    task = retrieval_task("tiny", DOCUMENTS, QUERIES, {"q1": {"d1": 1}, "q2": {"d2": 1}})
    [result] = mteb.evaluate(search, tasks=[task], cache=None)
    assert result.scores["test"][0]["ndcg_at_10"] == 1.0
