"""FAISS: `write_index` onto the existing file, as its documentation saves an index, or a rename over it.

A document is one vector, the mean of its tokens, because FAISS has no multi-vector documents. The test is
about FAISS's file.
"""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

FILE_NAME = "index.faiss"
# The score of a document for its own vectors.
FULL_SCORE = 1.0


def create(folder: Path, documents: list[Any]) -> None:
    """Create an index of these documents, with their numbers as ids."""
    folder.mkdir(parents=True)
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(documents[0].shape[1]))
    index.add_with_ids(np.concatenate([_mean(document) for document in documents]), np.arange(len(documents)))
    faiss.write_index(index, str(folder / FILE_NAME))


class Store:
    def __init__(self, folder: Path, *, rename: bool = False) -> None:
        self.path = folder / FILE_NAME
        self.rename = rename
        self.index = faiss.read_index(str(self.path))

    def add(self, number: int, document: Any) -> None:
        self.index.add_with_ids(_mean(document), np.array([number]))
        if not self.rename:
            faiss.write_index(self.index, str(self.path))
            return
        written = self.path.with_suffix(".new")
        faiss.write_index(self.index, str(written))
        written.replace(self.path)

    def search(self, query: Any, k: int) -> tuple[list[int], list[float]]:
        scores, ids = self.index.search(_mean(query), k)
        return ids[0].tolist(), scores[0].tolist()


def _mean(document: Any) -> Any:
    """(1, dim) float32 unit row."""
    mean = document.mean(axis=0, keepdims=True)
    return np.ascontiguousarray(mean / np.linalg.norm(mean), np.float32)
