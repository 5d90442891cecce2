"""Brute force in torch: matrix product per block, then `segment_reduce` over ragged documents."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

BLOCK_TOKENS = 8_192


def build(folder: Path, workload: Any, *, n_threads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "docs.npy", np.asarray(workload.docs, np.float32))


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        torch.set_num_threads(n_threads)
        self.vectors = torch.from_numpy(np.load(folder / "docs.npy"))
        self.offsets = workload.offsets
        self.lengths = torch.from_numpy(workload.doclens)

    def search(self, query: Any, k: int) -> tuple[Any, Any]:
        scores = scan(query, self.vectors, self.offsets, self.lengths)
        best, ids = torch.topk(scores, min(k, len(scores)))
        return ids.tolist(), best.tolist()

    def prepare(self, candidates: Any) -> tuple[Any, Any, Any]:
        parts = [self.vectors[self.offsets[i] : self.offsets[i + 1]] for i in candidates]
        lengths = self.lengths[torch.from_numpy(candidates)]
        return torch.cat(parts), np.cumsum([0, *lengths.tolist()]), lengths

    def rerank(self, query: Any, prepared: tuple[Any, Any, Any]) -> Any:
        return scan(query, *prepared).tolist()


def scan(query: Any, vectors: Any, offsets: Any, lengths: Any) -> Any:
    columns = torch.from_numpy(query).T.contiguous()
    n_docs = len(offsets) - 1
    parts = []
    first = 0
    while first < n_docs:
        last = int(np.searchsorted(offsets, offsets[first] + BLOCK_TOKENS, "right")) - 1
        last = min(max(first + 1, last), n_docs)
        similarities = vectors[offsets[first] : offsets[last]] @ columns
        best = torch.segment_reduce(similarities, "max", lengths=lengths[first:last], axis=0, unsafe=True)
        parts.append(best.sum(1))
        first = last
    return torch.cat(parts)
