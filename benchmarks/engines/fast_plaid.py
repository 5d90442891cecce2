"""fast-plaid 1.7 (Rust over libtorch): PLAID on the CPU. Its wheel pins an exact torch, in the CUDA build."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fast_plaid import search


def build(folder: Path, workload: Any, *, n_threads: int, nbits: int = 4) -> None:
    torch.set_num_threads(n_threads)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    documents = [torch.from_numpy(document) for document in workload.documents(np.float16)]
    index = search.FastPlaid(index=str(folder), device="cpu")
    index.create(documents_embeddings=documents, nbits=nbits)
    index.close()


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        torch.set_num_threads(n_threads)
        self.index = search.FastPlaid(index=str(folder), device="cpu")

    def search(self, query: Any, k: int, **knobs: Any) -> tuple[list[int], list[float]]:
        hits = self.index.search(torch.from_numpy(query)[None], top_k=k, show_progress=False, **knobs)[0]
        return [document for document, _ in hits], [score for _, score in hits]

    def prepare(self, candidates: Any) -> list[int]:
        return [int(candidate) for candidate in candidates]

    def rerank(self, query: Any, candidates: list[int]) -> list[float]:
        """Rerank by a search restricted to the candidates; a candidate that it does not return scores NaN."""
        knobs = {"n_ivf_probe": 32, "n_full_scores": 4 * len(candidates) + 4, "subset": candidates}
        ids, scores = self.search(query, len(candidates), **knobs)
        found = dict(zip(ids, scores))
        return [found.get(candidate, float("nan")) for candidate in candidates]
