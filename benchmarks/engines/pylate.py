"""PyLate 1.6: its reranker over token vectors kept in memory (its index is fast-plaid's)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pylate import rank


def build(folder: Path, workload: Any, *, n_threads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        torch.set_num_threads(n_threads)
        self.documents = workload.documents(np.float32)

    def prepare(self, candidates: Any) -> tuple[list[int], list[Any]]:
        ids = [int(candidate) for candidate in candidates]
        return ids, [torch.from_numpy(self.documents[i]) for i in ids]

    def rerank(self, query: Any, prepared: tuple[list[int], list[Any]]) -> list[float]:
        ids, documents = prepared
        ranked = rank.rerank(
            documents_ids=[ids],
            queries_embeddings=[torch.from_numpy(query)],
            documents_embeddings=[documents],
            device="cpu",
        )[0]
        scores = {hit["id"]: float(hit["score"]) for hit in ranked}
        return [scores.get(i, float("nan")) for i in ids]
