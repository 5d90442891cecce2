"""Mean pooling on FAISS: candidates by one averaged vector per document, then MaxSim over our 4-bit codes.

The second stage is colsearch's own kernel, so this engine differs from colsearch in the first stage alone.
"""

import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from colsearch.codec.rotated import RotatedCodec
from colsearch_kernels import top_k


def build(folder: Path, workload: Any, *, n_threads: int) -> None:
    starts = workload.offsets[:-1]
    sums = np.add.reduceat(np.asarray(workload.docs, np.float32), starts, axis=0)
    write_index(folder, workload, _unit(sums), n_threads)


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        self.second = SecondStage(folder, workload, n_threads)

    def search(self, query: Any, k: int, *, n_candidates: int = 200) -> tuple[Any, Any]:
        return self.second.search(query, _unit(query.sum(0, keepdims=True)), k, n_candidates)


class SecondStage:
    """A flat inner-product index for candidates and 4 + 4 bit codes for their scores."""

    def __init__(self, folder: Path, workload: Any, n_threads: int) -> None:
        faiss.omp_set_num_threads(n_threads)
        self.n_threads = n_threads
        self.codec = RotatedCodec(workload.dim, (4, 4))
        self.index = faiss.read_index(str(folder / "index.faiss"))
        planes = [np.load(folder / f"plane{i}.npy", mmap_mode="r") for i in range(2)]
        widths = [np.load(folder / f"width{i}.npy", mmap_mode="r") for i in range(2)]
        self.codes = self.codec.codes(planes, widths, workload.offsets)

    def search(self, query: Any, vector: Any, k: int, n_candidates: int) -> tuple[Any, Any]:
        _, found = self.index.search(vector, min(n_candidates, self.index.ntotal))
        prepared = self.codec.prepare_query(query)
        return top_k(prepared, self.codes, k, ordinals=np.sort(found[0]), n_threads=self.n_threads)


def write_index(folder: Path, workload: Any, vectors: Any, n_threads: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, np.float32))
    faiss.write_index(index, str(folder / "index.faiss"))
    encoded = RotatedCodec(workload.dim, (4, 4)).encode(np.asarray(workload.docs, np.float32))
    for i, (plane, width) in enumerate(zip(encoded.planes, encoded.widths)):
        np.save(folder / f"plane{i}.npy", plane)
        np.save(folder / f"width{i}.npy", width)


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
