"""ColIndex against a plain dict of documents and a brute force over the decoded codes."""

import json
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.errors import (
    ConfigError,
    DocumentError,
    DuplicateIdError,
    EncoderError,
    FilterError,
    IndexExistsError,
    IndexNotFoundError,
    ReadOnlyError,
    ShapeError,
    UnknownIdError,
    VectorError,
)
from colsearch_kernels.layout import rotation

DIM = 32


def random_documents(rng: np.random.Generator, n_docs: int, max_tokens: int = 12) -> list[np.ndarray]:
    lengths = rng.integers(1, max_tokens + 1, n_docs)
    documents = [rng.standard_normal((n, DIM)).astype(np.float32) for n in lengths]
    return [d / np.linalg.norm(d, axis=1, keepdims=True) for d in documents]


def random_query(rng: np.random.Generator, n_tokens: int = 5) -> np.ndarray:
    query = rng.standard_normal((n_tokens, DIM)).astype(np.float32)
    return query / np.linalg.norm(query, axis=1, keepdims=True)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def index(tmp_path: Path) -> ColIndex:
    with ColIndex.create(tmp_path / "index", dim=DIM) as index:
        yield index


def brute_force(index: ColIndex, documents: dict, query: np.ndarray) -> list[tuple[object, float]]:
    """Ids and scores by plain NumPy over decoded codes and the decoded quantized query."""
    codec = index._codec
    prepared = codec.prepare_query(query)
    q = rotation.rotate_back(prepared.values * prepared.scales[:, None], DIM, codec.seed)
    scored = []
    for n, (id, vectors) in enumerate(documents.items()):
        decoded = codec.decode(codec.encode(vectors))
        scored.append((-(q @ decoded.T).max(axis=1).sum(dtype=np.float64), n, id))
    return [(id, -score) for score, _, id in sorted(scored)]


@pytest.mark.parametrize("planes", [(4, 4), (2, 6), (8,), (4,), (2,), (1,)])
def test_exact_search_is_brute_force_over_the_decoded_codes(tmp_path, rng, planes):
    documents = {f"d{n}": d for n, d in enumerate(random_documents(rng, 60))}
    with ColIndex.create(tmp_path / "index", dim=DIM, planes=planes) as index:
        index.add_vectors(documents.values(), ids=documents)
        for _ in range(5):
            query = random_query(rng)
            expected = brute_force(index, documents, query)
            hits = index.search(query, k=60, exact=True)
            np.testing.assert_allclose(
                [h.score for h in hits], [s for _, s in expected], rtol=2e-5, atol=1e-5
            )
            scores = dict(expected)
            assert [h.id for h in hits] == [i for i, _ in expected] or np.allclose(
                [scores[h.id] for h in hits], [s for _, s in expected], rtol=2e-5, atol=1e-5
            )


def test_a_document_scores_the_same_alone_and_in_any_batch(tmp_path, rng):
    documents = random_documents(rng, 200)
    query = random_query(rng)
    with ColIndex.create(tmp_path / "all", dim=DIM) as together:
        together.add_vectors(documents, ids=range(200))
        scores = {h.id: h.score for h in together.search(query, k=200, exact=True)}
        assert {h.id: h.score for h in together.rerank(query, range(200))} == scores
        assert together.rerank(query, [17])[0].score == scores[17]
    with ColIndex.create(tmp_path / "one by one", dim=DIM) as alone:
        for n in range(40):
            alone.add_vectors([documents[n]], ids=[n])
        assert {h.id: h.score for h in alone.search(query, k=40)} == {n: scores[n] for n in range(40)}


def test_many_queries_give_what_each_gives_alone(index, rng):
    index.add_vectors(random_documents(rng, 50))
    queries = [random_query(rng, n) for n in (1, 3, 33)]
    together = index.search(queries, k=7)
    assert [[(h.id, h.score) for h in hits] for hits in together] == [
        [(h.id, h.score) for h in index.search(q, k=7)] for q in queries
    ]


def test_equal_scores_come_in_insertion_order(index, rng):
    [twin] = random_documents(rng, 1)
    for id in ("z", "a", "m"):
        index.add_vectors([twin], ids=[id])
    assert [h.id for h in index.search(random_query(rng), k=3)] == ["z", "a", "m"]


def test_add_update_delete_follow_a_dict(index, rng):
    documents = dict(enumerate(random_documents(rng, 30)))
    index.add_vectors(documents.values(), ids=documents)
    [new] = random_documents(rng, 1)
    index.update_vectors([new], ids=[3])
    documents.pop(3)
    documents[3] = new
    index.delete([5, 6])
    documents.pop(5), documents.pop(6)
    query = random_query(rng)
    for _ in range(2):
        assert list(index) == list(documents) and len(index) == len(documents)
        assert 3 in index and 5 not in index
        expected = brute_force(index, documents, query)
        assert [h.id for h in index.search(query, k=100)] == [i for i, _ in expected]
        index.compact()


def test_an_add_that_fails_half_way_leaves_nothing(index, rng):
    index.add_vectors(random_documents(rng, 3), ids=["a", "b", "c"])

    def broken():
        yield from random_documents(rng, 2000)
        raise RuntimeError("the corpus ended half way")

    with pytest.raises(RuntimeError, match="half way"):
        index.add_vectors(broken())
    assert list(index) == ["a", "b", "c"]
    with pytest.raises(DuplicateIdError, match="'b'"):
        index.add_vectors(random_documents(rng, 2), ids=["x", "b"])
    with pytest.raises(DuplicateIdError, match="'x'"):
        index.add_vectors(random_documents(rng, 2), ids=["x", "x"])
    with pytest.raises(DocumentError, match="ids ended after 1"):
        index.add_vectors(random_documents(rng, 2), ids=["x"], metadata=[{}, {}])
    assert list(index) == ["a", "b", "c"]
    index.add_vectors(random_documents(rng, 1), ids=["x"])
    assert list(index) == ["a", "b", "c", "x"]


@pytest.mark.parametrize(
    ("vectors", "error", "message"),
    [
        (np.full((2, DIM), np.nan), VectorError, "'bad': token 0 holds NaN"),
        (np.vstack([np.ones(DIM), np.full(DIM, np.inf)]), VectorError, "'bad': token 1"),
        (np.zeros((1, DIM)), VectorError, "all zeros"),
        (np.ones((2, DIM + 1)), ShapeError, rf"\(2, {DIM + 1}\)"),
        (np.ones(DIM), ShapeError, "shape"),
        ([[1.0], [1.0, 2.0]], ShapeError, "ragged"),
        (np.array([["a"] * DIM]), ShapeError, "numbers"),
    ],
)
def test_bad_vectors_are_named_and_nothing_is_kept(index, rng, vectors, error, message):
    with pytest.raises(error, match=message):
        index.add_vectors([*random_documents(rng, 1), vectors], ids=["good", "bad"])
    assert len(index) == 0
    index.add_vectors(random_documents(rng, 2))
    with pytest.raises((VectorError, ShapeError)):
        index.search(vectors)


@pytest.mark.parametrize("bad", [None, 1.5, True, "", b"bytes", ("a",), 2**63, "lone \ud800 surrogate"])
def test_bad_ids_are_refused(index, rng, bad):
    with pytest.raises(DocumentError):
        index.add_vectors(random_documents(rng, 1), ids=[bad])


def test_the_string_and_the_integer_are_two_ids(index, rng):
    index.add_vectors(random_documents(rng, 2), ids=["1", 1])
    assert list(index) == ["1", 1]
    index.delete(1)
    assert list(index) == ["1"]


def test_a_document_without_tokens_is_kept_and_never_a_hit(index, rng):
    index.add_vectors([np.empty((0, DIM)), *random_documents(rng, 1)], ids=["empty", "full"])
    assert len(index) == 2 and "empty" in index
    assert [h.id for h in index.search(random_query(rng), k=5)] == ["full"]
    assert [h.id for h in index.rerank(random_query(rng), ["empty", "full"])] == ["full"]
    with pytest.raises(DocumentError, match="no tokens"):
        index.explain(random_query(rng), "empty")


def test_k_and_an_empty_index(index, rng):
    assert index.search(random_query(rng), k=3) == []
    assert index.search([], k=3) == []
    index.add_vectors(random_documents(rng, 4))
    assert len(index.search(random_query(rng), k=2**31)) == 4
    for k in (0, -1, 1.5, True):
        with pytest.raises(DocumentError, match="k must be"):
            index.search(random_query(rng), k=k)
    with pytest.raises(ShapeError, match="tokens"):
        index.search(np.empty((0, DIM)))
    assert len(index.search(random_query(rng, 500), k=2)) == 2
    with pytest.raises(ShapeError, match="1000000"):
        index.search(np.ones((1_000_000, DIM), np.float32))


def test_unknown_ids_are_named(index, rng):
    index.add_vectors(random_documents(rng, 2), ids=["a", "b"])
    for call in (
        lambda: index.delete(["a", "nope"]),
        lambda: index.rerank(random_query(rng), ["nope"]),
        lambda: index.get("nope"),
        lambda: index.explain(random_query(rng), "nope"),
    ):
        with pytest.raises(UnknownIdError, match="'nope'"):
            call()
    assert list(index) == ["a", "b"]


def test_where_limits_hits_and_texts_and_metadata_come_back(index, rng):
    index.add_vectors(
        random_documents(rng, 40),
        ids=range(40),
        texts=[f"text {n} é😀" for n in range(40)],
        metadata=[{"n": n, "even": n % 2 == 0} for n in range(40)],
    )
    hits = index.search(random_query(rng), k=40, where={"n": {"$gte": 10}, "even": True})
    assert sorted(h.id for h in hits) == list(range(10, 40, 2))
    assert all(
        h.text == f"text {h.id} é😀" and h.metadata == {"n": h.id, "even": h.id % 2 == 0} for h in hits
    )
    assert index.search(random_query(rng), where={"n": -1}) == []
    with pytest.raises(FilterError):
        index.search(random_query(rng), where={"n": {"$near": 1}})
    assert index.get(7).metadata == {"n": 7, "even": False}


def test_an_index_reopens_read_only_and_refuses_writes(index, rng):
    documents = random_documents(rng, 10)
    index.add_vectors(documents)
    query = random_query(rng)
    before = index.search(query)
    index.close()
    with ColIndex.open(index.path, read_only=True) as again:
        assert again.search(query) == before
        with pytest.raises(ReadOnlyError):
            again.add_vectors(documents)
        with pytest.raises(EncoderError, match="outside colsearch"):
            again.search("a text")
        assert pickle.loads(pickle.dumps(again)).search(query) == before


def test_paths_that_cannot_be(tmp_path, index):
    with pytest.raises(IndexExistsError):
        ColIndex.create(index.path, dim=DIM)
    with pytest.raises(IndexNotFoundError):
        ColIndex.open(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="planes"):
        ColIndex.create(tmp_path / "new", dim=DIM, planes=(3,))
    with pytest.raises(ConfigError, match="not both"):
        ColIndex.create(tmp_path / "new", "some/model", dim=DIM)
    assert not (tmp_path / "new").exists()


def test_threads_share_an_index(index, rng):
    index.add_vectors(random_documents(rng, 300))
    queries = [random_query(rng) for _ in range(8)]
    expected = [index.search(q) for q in queries]
    got: dict[int, list] = {}

    def work(n: int) -> None:
        got[n] = [index.search(q) for _ in range(20) for q in [queries[n]]]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert all(got[n] == [expected[n]] * 20 for n in range(8))


def test_a_profile_counts_what_was_done(index, rng):
    index.add_vectors(random_documents(rng, 25))
    hits = index.search(random_query(rng), profile=True)
    assert hits.profile.n_scored == 25
    assert {"prepare", "scan"} <= set(hits.profile.stage_ms)
    assert index.search(random_query(rng)).profile is None


def test_info_is_json(index, rng):
    index.add_vectors(random_documents(rng, 25))
    assert json.loads(json.dumps(index.info()))["n_docs"] == 25
