"""An index of your own token vectors, with no encoder and no torch: `python -m examples.vectors_only`."""

import sys
import tempfile
from pathlib import Path

import numpy as np

from colsearch import ColIndex

DIM = 128


def main() -> None:
    rng = np.random.default_rng(0)
    documents = {f"doc{i}": rng.standard_normal((int(rng.integers(5, 60)), DIM)) for i in range(2000)}
    with tempfile.TemporaryDirectory() as folder, ColIndex.create(Path(folder) / "index", dim=DIM) as index:
        index.add_vectors(documents.values(), ids=documents)
        # A query whose tokens are noisy copies of one document's.
        query = documents["doc7"][:8] + 0.3 * rng.standard_normal((min(8, len(documents["doc7"])), DIM))
        print("best:", index.search(query, k=1)[0].id)
        index.update_vectors([rng.standard_normal((10, DIM))], ids=["doc7"])
        print("after doc7 was replaced:", index.search(query, k=1)[0].id != "doc7")
        print("bytes per token:", index.info()["bytes_per_token"]["memory"], "instead of", 4 * DIM)
    print("torch was loaded:", "torch" in sys.modules)


if __name__ == "__main__":
    main()
