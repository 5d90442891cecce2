"""LanceDB: `table.add`; each call commits a version."""

from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from benchmarks.durability.documents import N_TOKENS

# The score of a document for its own vectors.
FULL_SCORE = float(N_TOKENS)


def create(folder: Path, documents: list[Any]) -> None:
    """Create a table of these documents, with their numbers as ids. It has no index, so searches scan it."""
    rows = _rows(range(len(documents)), documents)
    lancedb.connect(str(folder)).create_table("docs", rows, schema=rows.schema)


class Store:
    def __init__(self, folder: Path) -> None:
        self.table = lancedb.connect(str(folder)).open_table("docs")

    def add(self, number: int, document: Any) -> None:
        self.table.add(_rows([number], [document]))

    def search(self, query: Any, k: int) -> tuple[list[int], list[float]]:
        search = self.table.search(query, vector_column_name="tokens").metric("cosine").limit(k)
        hits = search.select(["id", "_distance"]).to_arrow()
        return hits["id"].to_pylist(), [len(query) - distance for distance in hits["_distance"].to_pylist()]


def _rows(numbers: Any, documents: list[Any]) -> Any:
    dim = documents[0].shape[1]
    tokens = pa.array([list(document) for document in documents], pa.list_(pa.list_(pa.float32(), dim)))
    return pa.table({"id": pa.array(np.asarray(numbers, np.int64)), "tokens": tokens})
