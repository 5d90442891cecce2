"""colsearch: an add is committed when it returns."""

from pathlib import Path
from typing import Any

from benchmarks.durability.documents import N_TOKENS
from colsearch import ColIndex

# The score of a document for its own vectors.
FULL_SCORE = float(N_TOKENS)


def create(folder: Path, documents: list[Any]) -> None:
    """Create an index of these documents, with their numbers as ids."""
    with ColIndex.create(folder, dim=documents[0].shape[1], n_threads=1) as index:
        index.add_vectors(documents, ids=range(len(documents)))


class Store:
    def __init__(self, folder: Path) -> None:
        self.index = ColIndex.open(folder, n_threads=1)

    def add(self, number: int, document: Any) -> None:
        self.index.add_vectors([document], ids=[number])

    def search(self, query: Any, k: int) -> tuple[list[int], list[float]]:
        hits = self.index.search(query, k=k)
        return [int(hit.id) for hit in hits], [hit.score for hit in hits]
