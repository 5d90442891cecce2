"""Reduces a workload's vectors to fewer dimensions, for engines that are built for 128 dimensions.

The directions come from the documents (uncentred PCA, which preserves dot products best). The rows are scaled
to unit length again. The encoder does not make such vectors, so quality on them says nothing about the
encoder. Every engine gets the same vectors, and the exact ranking is that of the reduced vectors.
"""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.workload import Workload, read_workload, write_workload

BLOCK = 1 << 16


def reduced(workload: Workload, dim: int) -> Workload:
    """The workload in `dim` dimensions; it is made once and stored beside the original."""
    folder = workload.folder.with_name(f"{workload.folder.name}-{dim}d")
    if not (folder / "about.json").exists():
        axes = principal_axes(workload.docs, dim)
        docs = np.empty((len(workload.docs), dim), np.float16)
        for first in range(0, len(docs), BLOCK):
            rows = slice(first, first + BLOCK)
            docs[rows] = _unit(workload.docs[rows].astype(np.float32) @ axes)
        folder.mkdir(parents=True, exist_ok=True)
        _copy_judgements(workload.folder, folder)
        write_workload(
            folder,
            docs=docs,
            doclens=workload.doclens,
            token_ids=np.load(workload.token_ids),
            queries=_unit(np.concatenate(workload.queries) @ axes),
            querylens=np.array([len(query) for query in workload.queries]),
            about={**workload.about, "name": f"{workload.about['name']}-{dim}", "reduced_from": workload.dim},
        )
    return read_workload(folder)


def principal_axes(vectors: NDArray[np.float16], dim: int) -> NDArray[np.float32]:
    """(full dim, dim) orthonormal columns, those that keep most of the vectors' squared length."""
    moments = np.zeros((vectors.shape[1],) * 2)
    for first in range(0, len(vectors), BLOCK):
        block = vectors[first : first + BLOCK].astype(np.float32)
        moments += block.T @ block
    _, columns = np.linalg.eigh(moments)
    axes: NDArray[np.float32] = columns[:, ::-1][:, :dim].astype(np.float32)
    return axes


def _copy_judgements(source: Path, target: Path) -> None:
    if (source / "qrels.json").exists():
        shutil.copyfile(source / "qrels.json", target / "qrels.json")


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
