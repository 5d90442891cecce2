"""docs/FILTERS.md says what passes a filter: every row of its table is run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from colsearch import ColIndex

PAGE = Path(__file__).parents[2] / "docs" / "FILTERS.md"
ROWS = re.findall(r"^\| `(\{.*?\})` \| `(\{.*?\})` \| (yes|no) \|$", PAGE.read_text(encoding="utf-8"), re.M)


def test_the_table_is_read() -> None:
    assert len(ROWS) >= 30


@pytest.mark.parametrize("metadata, where, passes", ROWS, ids=[f"{m} {w}" for m, w, _ in ROWS])
def test_what_the_docs_say_passes(tmp_path: Path, metadata: str, where: str, passes: str) -> None:
    vectors = np.ones((1, 8), np.float32)
    with ColIndex.create(tmp_path / "index", dim=8) as index:
        index.add_vectors([vectors, vectors], ids=["row", "other"], metadata=[json.loads(metadata), {"z": 1}])
        found = {hit.id for hit in index.search(vectors, where=json.loads(where))}
    assert ("row" in found) == (passes == "yes")
