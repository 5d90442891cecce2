"""Brute force in NumPy: one matrix product per cache-sized block, then the maximum over each document."""

from pathlib import Path
from typing import Any

import numpy as np

BLOCK_TOKENS = 1_024


def build(folder: Path, workload: Any, *, n_threads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "docs.npy", np.asarray(workload.docs, np.float32))


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        self.vectors = np.load(folder / "docs.npy")
        self.offsets = workload.offsets

    def search(self, query: Any, k: int) -> tuple[Any, Any]:
        scores = scan(query, self.vectors, self.offsets)
        best = np.argpartition(-scores, min(k, len(scores)) - 1)[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return best, scores[best]

    def prepare(self, candidates: Any) -> tuple[Any, Any]:
        bounds = [(self.offsets[i], self.offsets[i + 1]) for i in candidates]
        vectors = np.concatenate([self.vectors[a:b] for a, b in bounds])
        return vectors, np.cumsum([0, *(b - a for a, b in bounds)])

    def rerank(self, query: Any, prepared: tuple[Any, Any]) -> Any:
        return scan(query, *prepared)


def scan(query: Any, vectors: Any, offsets: Any) -> Any:
    """(n_docs,) MaxSim."""
    n_docs = len(offsets) - 1
    scores = np.empty(n_docs, np.float32)
    columns = np.ascontiguousarray(query.T)
    first = 0
    while first < n_docs:
        last = int(np.searchsorted(offsets, offsets[first] + BLOCK_TOKENS, "right")) - 1
        last = min(max(first + 1, last), n_docs)
        similarities = vectors[offsets[first] : offsets[last]] @ columns
        best = np.maximum.reduceat(similarities, offsets[first:last] - offsets[first], axis=0)
        scores[first:last] = best.sum(1)
        first = last
    return scores
