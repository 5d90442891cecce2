"""TACHIOM 0.4 (Rust, SIGIR 2026): centroids per kind of token, then residual codes. It needs token ids."""

from pathlib import Path
from typing import Any

import numpy as np
import tachiom


def build(folder: Path, workload: Any, *, n_threads: int, **settings: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    doclens = folder / "doclens.npy"
    np.save(doclens, workload.doclens.astype(np.int32))
    documents = str(workload.folder / "docs.npy")
    index = tachiom.Tachiom.build(documents, str(workload.token_ids), str(doclens), **settings)
    index.save(str(folder / "index.bin"))
    doclens.unlink()


class Engine:
    def __init__(self, folder: Path, workload: Any, *, n_threads: int) -> None:
        self.index = tachiom.Tachiom.load(str(folder / "index.bin"))

    def search(self, query: Any, k: int, **knobs: Any) -> tuple[Any, Any]:
        scores, ids = self.index.search(query, k=k, **knobs)
        found = np.isfinite(scores)
        return ids[found], scores[found]
