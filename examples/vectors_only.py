"""An index of your own token vectors, with no encoder and no torch: `python -m examples.vectors_only`."""

import sys
import tempfile
from pathlib import Path

import numpy as np

from colsearch import ColIndex
from colsearch.types import F32

DIM = 128


def main() -> None:
    rng = np.random.default_rng(0)
    documents = {f"doc{n}": random_vectors(rng, int(rng.integers(5, 60))) for n in range(2000)}
    with tempfile.TemporaryDirectory() as folder, ColIndex.create(Path(folder) / "index", dim=DIM) as index:
        index.add_vectors(documents.values(), ids=documents)
        # A query whose tokens are noisy copies of one document's.
        tokens = documents["doc7"][:8]
        query = tokens + 0.3 * random_vectors(rng, len(tokens))
        print("best:", index.search(query, k=1)[0].id)
        index.update_vectors([random_vectors(rng, 10)], ids=["doc7"])
        print("after doc7 was replaced:", index.search(query, k=1)[0].id != "doc7")
        print("bytes per token:", index.info()["bytes_per_token"]["memory"], "instead of", 4 * DIM)
    print("torch was loaded:", "torch" in sys.modules)


def random_vectors(rng: np.random.Generator, n_tokens: int) -> F32:
    return rng.standard_normal((n_tokens, DIM), np.float32)


if __name__ == "__main__":
    main()
