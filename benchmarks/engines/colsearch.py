"""colsearch through its public class: `ColIndex` over the caller's own token vectors."""

import shutil
from pathlib import Path
from typing import Any

from colsearch import ColIndex


def build(folder: Path, workload: Any, *, n_threads: int, planes: tuple[int, ...] = (4, 4)) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with ColIndex.create(folder, dim=workload.dim, planes=tuple(planes), n_threads=n_threads) as index:
        index.add_vectors(workload.iterate(), ids=range(workload.n_docs))
        index.compact()
        index.optimize()


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        self.index = ColIndex.open(folder, read_only=True, n_threads=n_threads)

    def search(self, query: Any, k: int, **knobs: Any) -> tuple[list[Any], list[float]]:
        hits = self.index.search(query, k=k, profile=True, **knobs)
        self.profile = hits.profile
        return [hit.id for hit in hits], [hit.score for hit in hits]

    def counters(self) -> dict[str, int]:
        return {"n_candidates": self.profile.n_candidates, "n_scored": self.profile.n_scored}

    def prepare(self, candidates: Any) -> list[int]:
        return [int(candidate) for candidate in candidates]

    def rerank(self, query: Any, candidates: list[int]) -> list[float]:
        scores = {hit.id: hit.score for hit in self.index.rerank(query, candidates)}
        return [scores[candidate] for candidate in candidates]
