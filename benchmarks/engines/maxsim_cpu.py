"""maxsim-cpu 0.1.0 (Rust, libxsmm): a kernel over a list of float32 matrices, used as a scan."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import maxsim_cpu
import numpy as np


def build(folder: Path, workload: Any, *, n_threads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "docs.npy", np.asarray(workload.docs, np.float32))


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        vectors = np.load(folder / "docs.npy")
        offsets = workload.offsets
        self.documents = [vectors[a:b] for a, b in pairwise(offsets)]

    def search(self, query: Any, k: int) -> tuple[Any, Any]:
        scores = self.rerank(query, self.documents)
        best = np.argpartition(-scores, min(k, len(scores)) - 1)[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return best, scores[best]

    def prepare(self, candidates: Any) -> list[Any]:
        return [self.documents[i] for i in candidates]

    def rerank(self, query: Any, documents: list[Any]) -> Any:
        return np.asarray(maxsim_cpu.maxsim_scores_variable(query, documents))
