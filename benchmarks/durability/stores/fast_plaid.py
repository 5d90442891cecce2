"""fast-plaid: `FastPlaid.update` with its defaults. A document's id is its position."""

from pathlib import Path
from typing import Any

import torch
from fast_plaid import search

from benchmarks.durability.documents import N_TOKENS

# The score of a document for its own vectors.
FULL_SCORE = float(N_TOKENS)


def create(folder: Path, documents: list[Any]) -> None:
    """Create an index of these documents, in their order."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True)
    index = search.FastPlaid(index=str(folder), device="cpu")
    index.create(documents_embeddings=[torch.from_numpy(document) for document in documents])
    index.close()


class Store:
    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self.index = search.FastPlaid(index=str(folder), device="cpu")

    def add(self, number: int, document: Any) -> None:
        self.index.update(documents_embeddings=[torch.from_numpy(document)])

    def search(self, query: Any, k: int) -> tuple[list[int], list[float]]:
        # Probe so many lists that a document that is not found is not in the index.
        knobs = {"n_ivf_probe": 64, "n_full_scores": 4096}
        [hits] = self.index.search(torch.from_numpy(query)[None], top_k=k, show_progress=False, **knobs)
        return [document for document, _ in hits], [score for _, score in hits]
