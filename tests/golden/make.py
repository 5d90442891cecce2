"""Make the golden index of today's format: `python -m tests.golden.make FOLDER`; once for each format version.

Later versions open it for ever (test_golden.py). It has three segments, texts, metadata of every type, deleted and
replaced documents, a document without tokens, and a prefilter; `expected.json` says what must be found in it.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.types import F32
from tests.support.prefilters import use_small_prefilters

DIM, N_QUERIES, K = 16, 5, 10
# A prefilter of a few kilobytes; without a lower threshold, so few documents would be scanned.
SMALL = {"n_probes": 256, "n_landmarks": 48, "n_dims": 32, "min_segment_tokens": 1000}
METADATA: list[dict[str, Any]] = [
    {"year": 1999, "tags": ["a", "b"], "deep": {"er": 1.5}},
    {"year": None, "open": True},
    {"year": "1999", "title": "Ünïcödé 😀"},
    {},
]


def vectors(number: int) -> F32:
    """Token vectors of document `number`; one in two hundred has none."""
    rng = np.random.default_rng([7, number])
    n_tokens = 0 if number % 200 == 5 else int(rng.integers(1, 6))
    return rng.standard_normal((n_tokens, DIM)).astype(np.float32)


def queries() -> list[F32]:
    rng = np.random.default_rng(8)
    return [rng.standard_normal((n, DIM)).astype(np.float32) for n in range(1, N_QUERIES + 1)]


def add(index: ColIndex, first: int, last: int) -> None:
    numbers = range(first, last)
    index.add_vectors(
        [vectors(n) for n in numbers],
        ids=[n if n % 2 else f"doc-{n}" for n in numbers],
        texts=[f"text of document {n}, with é and 😀" if n % 10 == 0 else None for n in numbers],
        metadata=[METADATA[n % 4] for n in numbers],
    )


def found(index: ColIndex) -> dict[str, Any]:
    """Everything that a later version must find too."""
    return {
        "ids": list(index),
        "documents": [[d.text, d.metadata] for d in (index.get("doc-0"), index.get(1), index.get("doc-1202"))],
        "hits": [
            [[hit.id, hit.score] for hit in hits] for hits in index.search(queries(), K, exact=True)
        ],
        "filtered": [hit.id for hit in index.search(queries()[0], K, where={"tags": "a", "deep.er": 1.5}, exact=True)],
        "bm25": index._store.snapshot().bm25("document 20 text", 3)[0].tolist(),
    }  # fmt: skip


def make(folder: Path) -> None:
    index_folder = folder / "index"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        use_small_prefilters(patch, cheap_scan_ns=1.0, **SMALL)
        make_index(index_folder, folder)


def make_index(index_folder: Path, folder: Path) -> None:
    with ColIndex.create(index_folder, dim=DIM, n_threads=1) as index:
        add(index, 0, 1200)
        add(index, 1200, 1220)
        add(index, 1220, 1230)
        index.update_vectors(
            [vectors(5000)], ids=["doc-1202"], texts=["replaced"], metadata=[{"new": [1, 2]}]
        )
        index.delete(["doc-4", 1221])
        expected = found(index)
    (index_folder / "writer.lock").unlink(missing_ok=True)
    (folder / "expected.json").write_text(
        json.dumps(expected, ensure_ascii=False, indent=0), encoding="utf-8"
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
