"""MUVERA's fixed dimensional encodings on FAISS (Dhulipala et al., NeurIPS 2024), second stage as faiss_mean.

Random hyperplanes divide space into cells, R times. A query sums its tokens per cell, a document averages
them, and an empty cell of a document takes the nearest token ("fill empty"). Both are concatenated over cells
and repetitions. Their inner product approximates MaxSim (more exactly, Chamfer similarity).
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines import faiss_mean as mean

N_HYPERPLANES = 4
N_REPETITIONS = 20
PROJECTED_DIM = 16


def build(folder: Path, workload: Any, *, n_threads: int) -> None:
    cells = Cells(workload.dim)
    vectors = np.stack([cells.document(document) for document in workload.iterate()])
    mean.write_index(folder, workload, vectors, n_threads)


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        self.cells = Cells(workload.dim)
        self.second = mean.SecondStage(folder, workload, n_threads)

    def search(self, query: Any, k: int, *, n_candidates: int = 200) -> tuple[Any, Any]:
        return self.second.search(query, self.cells.query(query)[None], k, n_candidates)


class Cells:
    """The random hyperplanes and projections of all repetitions, from a fixed seed."""

    def __init__(self, dim: int) -> None:
        generator = np.random.default_rng(42)
        self.planes = generator.standard_normal((N_REPETITIONS, dim, N_HYPERPLANES), dtype=np.float32)
        signs = generator.choice([-1.0, 1.0], (N_REPETITIONS, dim, PROJECTED_DIM))
        self.projections = (signs / np.sqrt(PROJECTED_DIM)).astype(np.float32)
        self.numbers = np.arange(1 << N_HYPERPLANES)

    def query(self, tokens: Any) -> Any:
        return self._blocks(tokens, document=False)

    def document(self, tokens: Any) -> Any:
        return self._blocks(tokens, document=True)

    def _blocks(self, tokens: Any, *, document: bool) -> Any:
        """(R * 2^k * d_proj,) float32."""
        blocks = []
        for planes, projection in zip(self.planes, self.projections):
            cell = ((tokens @ planes) > 0) @ (1 << np.arange(N_HYPERPLANES))
            member = (cell[:, None] == self.numbers).astype(np.float32)
            sums = member.T @ (tokens @ projection)
            if document:
                counts = member.sum(0)
                sums /= np.maximum(counts, 1)[:, None]
                empty = counts == 0
                sums[empty] = (tokens @ projection)[self._nearest(cell)[empty]]
            blocks.append(sums.ravel())
        return np.concatenate(blocks)

    def _nearest(self, cell: Any) -> Any:
        """(n_cells,) for each cell the token whose own cell differs from it in the fewest hyperplanes."""
        differing = cell[:, None] ^ self.numbers
        bits = sum((differing >> i) & 1 for i in range(N_HYPERPLANES))
        return bits.argmin(0)
