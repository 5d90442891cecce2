"""The index that is tortured, the calls made on it, and a model that says what it must hold afterwards."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from colsearch import ColIndex
from colsearch.errors import DamagedError
from colsearch.store import staging
from colsearch_kernels.layout import rotation

DIM = 16
# The model: the version of each document that the index should hold, in insertion order.
State = dict[str | int, int]


@cache
def vectors(id: str | int, version: int) -> np.ndarray:
    """(1..6, DIM) float32 token vectors of one version of a document."""
    rng = np.random.default_rng([version, *json.dumps(id).encode()])
    return rng.standard_normal((int(rng.integers(1, 7)), DIM)).astype(np.float32)


def text(id: str | int, version: int) -> str:
    return f"document {id} in version v{version} tells of fjord{version % 3} and lake"


def metadata(id: str | int, version: int) -> dict[str, Any]:
    return {"version": version, "tags": ["a", f"t{version}"], "nested": {"id": str(id)}}


QUERY = np.random.default_rng(99).standard_normal((4, DIM)).astype(np.float32)


@cache
def score(id: str | int, version: int) -> float:
    """MaxSim of the query, brute force over the decoded codes."""
    codec = _codec()
    prepared = codec.prepare_query(QUERY)
    query = rotation.rotate_back(prepared.values * prepared.scales[:, None], DIM, codec.seed)
    decoded = codec.decode(codec.encode(vectors(id, version)))
    return float((query @ decoded.T).max(axis=1).sum(dtype=np.float64))


@cache
def _codec() -> Any:
    from colsearch.codec.rotated import RotatedCodec

    return RotatedCodec(DIM)


def put(index: ColIndex, documents: State, *, replace: bool = False) -> None:
    """Add these versions of documents in one call, or with `replace` update them."""
    call = index.update_vectors if replace else index.add_vectors
    call(
        [vectors(*d) for d in documents.items()],
        ids=list(documents),
        texts=[text(*d) for d in documents.items()],
        metadata=[metadata(*d) for d in documents.items()],
    )


@dataclass(frozen=True, slots=True)
class Step:
    """One call, as a function on the index and as a function on the model."""

    name: str
    run: Callable[[ColIndex], object]
    model: Callable[[State], State]


def _adds(name: str, documents: State) -> Step:
    return Step(name, lambda index: put(index, documents), lambda state: state | documents)


def _updates(name: str, documents: State) -> Step:
    def model(state: State) -> State:
        kept = {id: version for id, version in state.items() if id not in documents}
        return kept | documents

    return Step(name, lambda index: put(index, documents, replace=True), model)


def _deletes(name: str, ids: list[str | int], *, purge: bool = False) -> Step:
    return Step(
        name,
        lambda index: index.delete(ids, purge=purge),
        lambda state: {id: version for id, version in state.items() if id not in ids},
    )


def staged(documents: State) -> Step:
    """An add that stages several segments, as a bulk add of millions of documents does."""

    def run(index: ColIndex) -> None:
        with patch.object(staging, "BUFFER_BYTES", 1), patch("colsearch.ingest.pipeline.BATCH_DOCS", 4):
            put(index, documents)

    return Step("bulk add", run, lambda state: state | documents)


def _model(index: ColIndex) -> None:
    # Its sample is empty, so no purge drops it.
    arrays = {"weights": np.arange(64, dtype=np.float32), "sample": np.empty(0, np.int64)}
    name = index._store.put_model(arrays, {"kind": "torture"})
    for live_segment in index._store.snapshot().segments:
        vectors = np.full((live_segment.segment.n_docs, 4), 0.5, np.float32)
        index._store.put_prefilter(live_segment.segment.name, name, {"vectors": vectors})
    index._store.adopt_model(name, {})


def _documents(prefix: str, n_docs: int, version: int = 0) -> State:
    return {f"{prefix}{n}": version for n in range(n_docs)} | {len(prefix) * 1000: version}


# Three segments, a text index, texts and metadata; the number 1000 and the string "1000" are two ids.
BASE = [_adds("first", _documents("a", 12)), _adds("second", {f"b{n}": 0 for n in range(8)}),
        _adds("third", {"1000": 0, "c1": 0, "c2": 0})]  # fmt: skip
STEPS = [
    _adds("add", {"d1": 1, "d2": 1}),
    _updates("update", {"a3": 2, "d1": 2, "new": 2}),
    _deletes("delete", ["a1", 1000, "b2"]),
    Step("model and prefilter", _model, dict),
    staged({f"e{n}": 3 for n in range(10)}),
    _deletes("purge", ["a4", "e1"], purge=True),
    _updates("update again", {"b5": 4, "e2": 4}),
    # These are more than half of the merged segment, so it is rewritten.
    _deletes("delete most", [f"a{n}" for n in (0, 2, *range(5, 12))] + [f"b{n}" for n in (0, 1, 3, 4, 6, 7)]),
    Step("compact", ColIndex.compact, dict),
    _adds("add after all", {"f1": 5}),
]


def create(path: Path) -> ColIndex:
    return ColIndex.create(path, dim=DIM, n_threads=1)


def build_base(path: Path) -> State:
    """Make the index of BASE and return its model."""
    state: State = {}
    with create(path) as index:
        for step in BASE:
            step.run(index)
            state = step.model(state)
    return state


def states_after(state: State, steps: list[Step]) -> list[State]:
    """The states before the first step and after each."""
    states = [state]
    for step in steps:
        states.append(step.model(states[-1]))
    return states


def mismatch(index: ColIndex, state: State) -> str | None:
    """The first difference between the index and the state: ids, hits, filters or text index; else None."""
    if list(index) != list(state):
        return f"ids {list(index)} instead of {list(state)}"
    if len(index) != len(state):
        return f"{len(index)} documents instead of {len(state)}"
    hits = index.search(QUERY, k=len(state) + 5, exact=True)
    if {hit.id for hit in hits} != set(state):
        return f"hits {sorted(map(str, {hit.id for hit in hits} ^ set(state)))} differ"
    for hit in hits:
        if problem := wrong_hit(hit, state):
            return problem
    if [h.score for h in hits] != sorted((h.score for h in hits), reverse=True):
        return "hits are not in order"
    for version in set(state.values()):
        found = {h.id for h in index.search(QUERY, k=len(state) + 5, where={"version": version}, exact=True)}
        if found != {id for id, v in state.items() if v == version}:
            return f"the filter for version {version} finds {found}"
    snapshot = index._store.snapshot()
    doc_nos, _ = snapshot.bm25("fjord0 fjord1 fjord2", len(state) + 5)
    if {document.id for document in snapshot.documents(doc_nos)} != set(state):
        return "the text index finds other documents"
    return None


def wrong_hit(hit: Any, state: State) -> str | None:
    """The first difference between a hit and this state: id, text, metadata or score; else None."""
    if hit.id not in state:
        return f"hit {hit.id!r} is not in the index"
    version = state[hit.id]
    if hit.text != text(hit.id, version) or hit.metadata != metadata(hit.id, version):
        return f"hit {hit.id!r} has text {hit.text!r} and metadata {hit.metadata!r}, not version {version}"
    if abs(hit.score - score(hit.id, version)) > 1e-3 * max(1.0, abs(hit.score)):
        return f"hit {hit.id!r} scores {hit.score}, not {score(hit.id, version)}"
    return None


def assert_one_of(path: Path, states: list[State]) -> int:
    """Assert that the index is undamaged and holds one of the states; returns the number of that state."""
    with ColIndex.open(path, n_threads=1, verify="full") as index:
        problems = [mismatch(index, state) for state in states]
        assert None in problems, problems
        report = index.check(deep=True)
        assert report.ok, report.problems
    return problems.index(None)


def assert_writer_works(path: Path, state: State) -> None:
    """Assert that an index of this state can be written, and that no file is left that it does not name."""
    with ColIndex.open(path, n_threads=1) as index:
        put(index, {"after": 7})
        state = state | {"after": 7}
        put(index, {"after": 8}, replace=True)
        state["after"] = 8
        first = next(iter(state))
        index.delete(first)
        del state[first]
        problem = mismatch(index, state)
        assert problem is None, problem
        assert index.check(deep=True).ok
        named = {live_segment.segment.name for live_segment in index._store.snapshot().segments}
        on_disk = {file.name for file in (path / "segments").iterdir()}
        if stray := {name for name in on_disk - named if not name.endswith(".pre")}:
            raise DamagedError(f"garbage was left behind: {stray}")
