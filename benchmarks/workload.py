"""Stores token vectors of a collection as plain files, the same for every engine; needs NumPy only.

docs.npy       (n_tokens, dim) float16, unit rows, documents end to end
doclens.npy    (n_docs,) int64
token_ids.npy  (n_tokens,) uint32, the kind of each token, for engines that group by it
queries.npy    (n_query_tokens, dim) float32
querylens.npy  (n_queries,) int64
exact.npz      ids and scores, (n_queries, n_best), of exact float32 MaxSim, made by `exact.py`
about.json     origin of the vectors
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Workload:
    """An opened folder. Documents stay on disk until an engine reads them."""

    folder: Path
    docs: NDArray[np.float16]
    doclens: NDArray[np.int64]
    queries: list[NDArray[np.float32]]
    about: dict[str, Any]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(n_docs + 1,) first token of each document."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.doclens)])

    @property
    def token_ids(self) -> Path:
        return self.folder / "token_ids.npy"

    @property
    def n_docs(self) -> int:
        return len(self.doclens)

    @property
    def dim(self) -> int:
        return int(self.docs.shape[1])

    def iterate(self, dtype: Any = np.float32) -> Iterator[NDArray[Any]]:
        """Yield each document as an (n_tokens, dim) array; a document is read when it is yielded."""
        return (np.asarray(self.docs[a:b], dtype=dtype) for a, b in pairwise(self.offsets))

    def documents(self, dtype: Any = np.float32) -> list[NDArray[Any]]:
        """All documents as a list of arrays, the form that most engines take."""
        return list(self.iterate(dtype))


def read_workload(folder: Path) -> Workload:
    queries = np.load(folder / "queries.npy")
    bounds = np.cumsum(np.load(folder / "querylens.npy"))[:-1]
    return Workload(
        folder,
        np.load(folder / "docs.npy", mmap_mode="r"),
        np.load(folder / "doclens.npy").astype(np.int64),
        [np.ascontiguousarray(query) for query in np.split(queries, bounds)],
        json.loads((folder / "about.json").read_text(encoding="utf-8")),
    )


def write_workload(
    folder: Path,
    *,
    docs: NDArray[Any],
    doclens: NDArray[Any],
    token_ids: NDArray[Any],
    queries: NDArray[Any],
    querylens: NDArray[Any],
    about: dict[str, Any],
) -> Path:
    """Write a workload. `about.json` is written last, so a folder that has it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "docs.npy", docs.astype(np.float16, copy=False))
    np.save(folder / "doclens.npy", doclens.astype(np.int64))
    np.save(folder / "token_ids.npy", token_ids.astype(np.uint32))
    np.save(folder / "queries.npy", queries.astype(np.float32))
    np.save(folder / "querylens.npy", querylens.astype(np.int64))
    (folder / "exact.npz").unlink(missing_ok=True)
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder
