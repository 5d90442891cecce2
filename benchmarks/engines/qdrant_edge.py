"""qdrant-edge-py 0.9: Qdrant's engine in the process, one shard, MaxSim over a multivector."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

BATCH = 200
NEVER = 10**9


def build(
    folder: Path,
    workload: Any,
    *,
    n_threads: int,
    hnsw: bool = False,
    datatype: str = "Float32",
    quantized: bool = False,
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shard = edge.EdgeShard.create(str(folder), _config(workload.dim, hnsw, datatype, quantized))
    documents = workload.documents(np.float32)
    for first in range(0, len(documents), BATCH):
        batch = enumerate(documents[first : first + BATCH], start=first)
        points = [edge.Point(i, {"tokens": document.tolist()}) for i, document in batch]
        shard.update(edge.UpdateOperation.upsert_points(points))
    shard.flush()
    if hnsw:
        shard.optimize()
        shard.flush()
    shard.close()


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        self.shard = edge.EdgeShard.load(str(folder))

    def search(self, query: Any, k: int, **knobs: Any) -> tuple[list[int], list[float]]:
        nearest = edge.Query.Nearest(query.tolist(), using="tokens")
        hits = self.shard.query(
            edge.QueryRequest(
                limit=k,
                query=nearest,
                params=edge.SearchParams(**knobs) if knobs else None,
                with_vector=False,
                with_payload=False,
            )
        )
        return [hit.id for hit in hits], [hit.score for hit in hits]


def _config(dim: int, hnsw: bool, datatype: str, quantized: bool) -> Any:
    settings: dict[str, Any] = {}
    if hnsw:
        settings["hnsw_config"] = edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10)
    if quantized:
        settings["quantization_config"] = edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8)
    parameters = edge.EdgeVectorParams(
        size=dim,
        distance=edge.Distance.Dot,
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
        datatype=getattr(edge.VectorStorageDatatype, datatype),
        **settings,
    )
    optimizers = edge.EdgeOptimizersConfig(indexing_threshold=1 if hnsw else NEVER, default_segment_number=1)
    return edge.EdgeConfig(vectors={"tokens": parameters}, optimizers=optimizers)
