"""LanceDB 0.40: a column of token vectors with cosine (its only metric for them), with or without IVF_PQ."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

BATCH = 1_000


def build(folder: Path, workload: Any, *, n_threads: int, index: str | None = "IVF_PQ") -> None:
    shutil.rmtree(folder, ignore_errors=True)
    vector = pa.list_(pa.float16(), workload.dim)
    schema = pa.schema([("id", pa.int64()), ("tokens", pa.list_(vector))])
    table = lancedb.connect(str(folder)).create_table("docs", _batches(workload, schema), schema=schema)
    if index:
        table.create_index(metric="cosine", vector_column_name="tokens", index_type=index)


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        self.table = lancedb.connect(str(folder)).open_table("docs")

    def search(
        self, query: Any, k: int, *, nprobes: int | None = None, refine_factor: int | None = None
    ) -> tuple[list[int], list[float]]:
        search = self.table.search(query, vector_column_name="tokens").metric("cosine").limit(k)
        if nprobes:
            search = search.nprobes(nprobes)
        if refine_factor:
            search = search.refine_factor(refine_factor)
        hits = search.select(["id", "_distance"]).to_arrow()
        return hits["id"].to_pylist(), [len(query) - distance for distance in hits["_distance"].to_pylist()]


def _batches(workload: Any, schema: Any) -> Iterator[Any]:
    offsets = workload.offsets
    for first in range(0, workload.n_docs, BATCH):
        last = min(workload.n_docs, first + BATCH)
        values = np.asarray(workload.docs[offsets[first] : offsets[last]]).reshape(-1)
        tokens = pa.FixedSizeListArray.from_arrays(pa.array(values), workload.dim)
        bounds = pa.array((offsets[first : last + 1] - offsets[first]).astype(np.int32))
        documents = pa.ListArray.from_arrays(bounds, tokens)
        yield pa.record_batch([pa.array(np.arange(first, last)), documents], schema=schema)
