"""Draws token vectors from a model of text, to compare engines without an encoder.

A token is the sum of its kind's centroid (Zipf-weighted kinds, one to four senses each), its document's topic
and noise. All three are anisotropic, as real token vectors are. A query takes its tokens from several
neighbouring documents, so that the exact scores decline gradually after the best one. Recall ranks engines as
on real texts, but says nothing about retrieval quality, because there are no relevance judgements.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.workload import Workload, read_workload, write_workload

Floats = NDArray[np.float32]
BATCH_DOCS = 5_000
FAVOURITE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a workload; the defaults are "5,000 documents / 400k tokens, 32 query tokens"."""

    n_docs: int = 5_000
    mean_tokens: int = 80
    n_queries: int = 200
    query_tokens: int = 32
    dim: int = 128
    n_kinds: int = 3_000
    n_topics: int = 400
    seed: int = 0


class Model:
    """Centroids of the senses and of the topics, and the noise around them."""

    def __init__(self, shape: Shape, generator: np.random.Generator) -> None:
        self.shape, self.generator = shape, generator
        spectrum = np.arange(1, shape.dim + 1) ** -0.35
        self.spectrum = (spectrum / np.linalg.norm(spectrum)).astype(np.float32)
        self.axes, self.centroid_axes = (self._rotation() for _ in range(2))
        self.n_senses = 1 + np.minimum(3, generator.geometric(0.65, shape.n_kinds) - 1)
        self.first_sense = np.concatenate([[0], np.cumsum(self.n_senses)])
        kinds = self._centroids(shape.n_kinds).repeat(self.n_senses, axis=0)
        self.senses = 0.75 * kinds + 0.65 * self._centroids(int(self.first_sense[-1]))
        self.common = 0.35 * self._centroids(1)
        self.topics = self._centroids(shape.n_topics)
        n_favourites = int(FAVOURITE_SHARE * shape.n_kinds)
        self.favourites = np.stack(
            [generator.choice(shape.n_kinds, n_favourites, replace=False) for _ in range(shape.n_topics)]
        )
        self.topic_salt = generator.integers(0, 1 << 30, shape.n_topics)

    def noise(self, n: int) -> Floats:
        """(n, dim) noise with E |x|² = 1, concentrated in few directions."""
        return self._normal(n) @ self.axes

    def tokens(
        self, topics: NDArray[np.int64], doclens: NDArray[np.int64]
    ) -> tuple[Floats, NDArray[np.int64]]:
        """(n_tokens, dim) unit rows and (n_tokens,) kinds, the tokens of documents with the given topics."""
        topic = topics.repeat(doclens)
        kind = self._kinds(topic)
        sense = self.first_sense[kind] + self._which_sense(topic, kind)
        vectors = self.senses[sense] + 0.5 * self.topics[topic] + self.common
        vectors += 0.25 * self.noise(len(topics)).repeat(doclens, axis=0) + 0.55 * self.noise(len(topic))
        return _unit(vectors), kind

    def _kinds(self, topic: NDArray[np.int64]) -> NDArray[np.int64]:
        """The kind of each token. Nearly half are the topic's own words; the rest follow Zipf's law."""
        zipf = np.arange(1, self.shape.n_kinds + 1) ** -0.95
        common = self.generator.choice(self.shape.n_kinds, len(topic), p=zipf / zipf.sum())
        rank = (self.generator.random(len(topic)) ** 2 * self.favourites.shape[1]).astype(np.int64)
        own = self.generator.random(len(topic)) < 0.45
        kinds: NDArray[np.int64] = np.where(own, self.favourites[topic, rank], common)
        return kinds

    def _which_sense(self, topic: NDArray[np.int64], kind: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sense of each token. A topic uses a word in one sense four times in five."""
        settled = (self.topic_salt[topic] + kind * 2_654_435_761) % (1 << 20)
        astray = self.generator.random(len(topic)) < 0.2
        drawn = np.where(astray, self.generator.integers(0, 1 << 30, len(topic)), settled)
        senses: NDArray[np.int64] = drawn % self.n_senses[kind]
        return senses

    def _centroids(self, n: int) -> Floats:
        return self._normal(n) @ self.centroid_axes

    def _normal(self, n: int) -> Floats:
        return self.generator.standard_normal((n, self.shape.dim), dtype=np.float32) * self.spectrum

    def _rotation(self) -> Floats:
        square = self.generator.standard_normal((self.shape.dim, self.shape.dim))
        return np.linalg.qr(square)[0].astype(np.float32)


def synthetic(shape: Shape, home: Path) -> Workload:
    """The workload of this shape; it is made once and stored under `home`."""
    folder = home / "workloads" / f"synthetic-{shape.n_docs}-{shape.mean_tokens}-{shape.dim}-{shape.seed}"
    if not (folder / "about.json").exists():
        generator = np.random.default_rng(shape.seed)
        model = Model(shape, generator)
        docs, kinds, doclens = _documents(model)
        queries = _queries(docs, doclens, shape)
        write_workload(
            folder,
            docs=docs,
            doclens=doclens,
            token_ids=kinds,
            queries=np.concatenate(queries),
            querylens=np.array([len(query) for query in queries]),
            about={"name": "synthetic", "texts": False, **asdict(shape)},
        )
    return read_workload(folder)


def _documents(model: Model) -> tuple[NDArray[np.float16], NDArray[np.int64], NDArray[np.int64]]:
    shape, generator = model.shape, model.generator
    lengths = generator.lognormal(np.log(shape.mean_tokens) - 0.06, 0.35, shape.n_docs)
    doclens = np.clip(lengths.astype(np.int64), 8, 300)
    popularity = np.arange(1, shape.n_topics + 1) ** -0.5
    topics = generator.choice(shape.n_topics, shape.n_docs, p=popularity / popularity.sum())
    docs = np.empty((int(doclens.sum()), shape.dim), np.float16)
    kinds = np.empty(len(docs), np.int64)
    start = 0
    for first in range(0, shape.n_docs, BATCH_DOCS):
        batch = slice(first, first + BATCH_DOCS)
        vectors, batch_kinds = model.tokens(topics[batch], doclens[batch])
        docs[start : start + len(vectors)], kinds[start : start + len(vectors)] = vectors, batch_kinds
        start += len(vectors)
    return docs, kinds, doclens


def _queries(docs: NDArray[np.float16], doclens: NDArray[np.int64], shape: Shape) -> list[Floats]:
    """Queries, each with noisy tokens of one document (3/8) and of seven of its 30 nearest neighbours."""
    generator = np.random.default_rng(shape.seed + 1)
    starts = np.concatenate([[0], np.cumsum(doclens)])
    n_neighbours = min(31, shape.n_docs)
    sums = np.add.reduceat(docs.astype(np.float32), starts[:-1], axis=0)
    means = (sums / doclens[:, None]).astype(np.float32)
    means = _unit(means - means.mean(0))
    queries = []
    for source in generator.choice(shape.n_docs, min(shape.n_queries, shape.n_docs), replace=False):
        near = np.argsort(-(means @ means[source]), kind="stable")[1:n_neighbours]
        others = generator.choice(near, min(7, len(near)), replace=False)
        n_own = shape.query_tokens * 3 // 8
        donors = np.r_[np.full(n_own, source), generator.choice(others, shape.query_tokens - n_own)]
        rows = [generator.integers(starts[donor], starts[donor + 1]) for donor in donors]
        noise = generator.standard_normal((shape.query_tokens, shape.dim), dtype=np.float32)
        queries.append(_unit(docs[rows].astype(np.float32) + 0.75 / np.sqrt(shape.dim) * noise))
    return queries


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
