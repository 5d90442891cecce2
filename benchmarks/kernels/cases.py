"""The data that kernels are timed on: shapes of real use, drawn from a seed, the same in every process."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIM = 128
N_QUERY_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Case:
    """A set of documents, and the choice of those that are scored.

    Attributes:
        doclen: tokens per document; the mean if lengths vary.
        ragged: draw lengths from 1 to twice `doclen`.
        n_candidates: number of scattered documents, drawn anew for each call; None scores all in order.
        repeats: calls within one timed turn. Other processes run between turns, so the first call finds the
            caches empty. With more repeats, the time is closer to that of a loop over data in cache.
    """

    name: str
    n_docs: int
    doclen: int
    ragged: bool = False
    n_candidates: int | None = None
    repeats: int = 1

    @property
    def n_scored(self) -> int:
        return self.n_candidates or self.n_docs

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# Scoring a single token is almost no work, so its time is the fixed cost of a call.
ONE_TOKEN = Case("one token", n_docs=1, doclen=1, repeats=200)
# Half a MiB of float32, which fits into the second-level cache. The time of a quarter of it is subtracted, to
# measure the loop without the fixed cost. (With the time of one token subtracted, on a busy machine, codes
# appeared faster than the processor can be.)
CACHED = Case("cached", n_docs=16, doclen=60, repeats=100)
CACHED_QUARTER = Case("a quarter of it", n_docs=4, doclen=60, repeats=200)
CASES = (
    ONE_TOKEN,
    CACHED,
    CACHED_QUARTER,
    Case("uniform", n_docs=300, doclen=80, repeats=10),
    Case("ragged", n_docs=300, doclen=80, ragged=True, repeats=10),
    Case("ragged, cold", n_docs=300, doclen=80, ragged=True),
    *(Case(f"scattered-{n}", n_docs=12_000, doclen=60, n_candidates=n) for n in (100, 1_000, 10_000)),
    Case("scan", n_docs=5_000, doclen=80),
)
SMOKE = (
    Case("smoke", n_docs=7, doclen=5, ragged=True),
    Case("smoke-3", n_docs=9, doclen=4, n_candidates=3),
)


@dataclass(frozen=True, eq=False, slots=True)
class Data:
    """A case's arrays.

    Attributes:
        query: (N_QUERY_TOKENS, DIM) float32, unit rows.
        vectors: (n_tokens, DIM) float32, unit rows.
        doclens: (n_docs,) int64.
    """

    query: NDArray[np.float32]
    vectors: NDArray[np.float32]
    doclens: NDArray[np.int64]

    @property
    def offsets(self) -> NDArray[np.int64]:
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.doclens)])

    def documents(self) -> list[NDArray[np.float32]]:
        """One matrix per document, each in its own memory, as an application would hold them."""
        return [self.vectors[first:last].copy() for first, last in pairwise(self.offsets)]


def draw(case: Case, seed: int) -> Data:
    generator = np.random.default_rng([seed, case.n_docs, case.doclen])
    doclens = np.full(case.n_docs, case.doclen, np.int64)
    if case.ragged:
        doclens = generator.integers(1, 2 * case.doclen, case.n_docs, dtype=np.int64)
    # Tokens are drawn around a few topics. With independent random vectors no document would stand out.
    topics = _unit(generator.standard_normal((64, DIM), np.float32))
    topic_of_token = np.repeat(generator.integers(0, len(topics), case.n_docs), doclens)
    vectors = _unit(
        topics[topic_of_token] + _unit(generator.standard_normal((len(topic_of_token), DIM), np.float32))
    )
    query = _unit(topics[:1] + _unit(generator.standard_normal((N_QUERY_TOKENS, DIM), np.float32)))
    return Data(query, vectors, doclens)


def candidates(case: Case, seed: int, call: int) -> NDArray[np.int64] | None:
    """(n_candidates,) int64 ordinals of this call, or None for all documents."""
    if case.n_candidates is None:
        return None
    return np.random.default_rng([seed, call]).choice(case.n_docs, case.n_candidates, replace=False)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
