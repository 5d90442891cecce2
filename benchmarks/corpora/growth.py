"""Enlarges a real collection: its own documents come first, then documents mixed from its tokens.

A mixed document takes its tokens from one real document and from two of its neighbours (the documents with
the nearest mean), with a little noise. It has the topic of its sources without repeating any of them. Results
on such documents are labelled synthetic.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.workload import Workload

N_NEIGHBOURS = 16
NOISE = 0.25
OWN_SHARE = 0.6


class Grown:
    """An endless sequence of documents; the first `workload.n_docs` are the real ones."""

    def __init__(self, workload: Workload, *, seed: int) -> None:
        self.workload, self.seed = workload, seed
        self.offsets = workload.offsets
        self._neighbours = _neighbours(workload)

    def documents(self, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        """The documents from first to last - 1; each depends only on its number and the seed."""
        for number in range(first, last):
            yield self.document(number)

    def document(self, number: int) -> NDArray[np.float32]:
        """(n_tokens, dim) float32, unit rows."""
        if number < self.workload.n_docs:
            return np.asarray(self.workload.docs[self.offsets[number] : self.offsets[number + 1]], np.float32)
        generator = np.random.default_rng([self.seed, number])
        source = number % self.workload.n_docs
        donors = generator.choice(self._neighbours[source], 2)
        length = int(self.workload.doclens[source])
        owner = np.where(
            generator.random(length) < OWN_SHARE, source, donors[generator.integers(0, 2, length)]
        )
        rows = self.offsets[owner] + (generator.random(length) * self.workload.doclens[owner]).astype(
            np.int64
        )
        # Sorted, because rows are read from a memory map. MaxSim does not depend on the order of tokens.
        tokens = np.asarray(self.workload.docs[np.sort(rows)], np.float32)
        noise = generator.standard_normal(tokens.shape, dtype=np.float32) * (NOISE / np.sqrt(tokens.shape[1]))
        unit: NDArray[np.float32] = (tokens + noise) / np.linalg.norm(tokens + noise, axis=1, keepdims=True)
        return unit


def _neighbours(workload: Workload) -> NDArray[np.int64]:
    """(n_docs, n_neighbours) the documents with the nearest mean tokens."""
    offsets = workload.offsets
    means = np.empty((workload.n_docs, workload.dim), np.float32)
    for row, document in enumerate(workload.iterate()):
        means[row] = document.mean(0)
    means -= np.average(means, axis=0, weights=np.diff(offsets))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    n_near = min(N_NEIGHBOURS, workload.n_docs)
    near = np.empty((workload.n_docs, n_near), np.int64)
    for first in range(0, workload.n_docs, 1_024):
        similar = means[first : first + 1_024] @ means.T
        near[first : first + 1_024] = np.argpartition(-similar, n_near - 1, axis=1)[:, :n_near]
    return near
