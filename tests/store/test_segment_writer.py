"""A segment's writer returns the same rows and documents as reading the file back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colsearch.store.folder import FileKind, IndexFolder
from colsearch.store.segment import Segment
from colsearch.store.segment_writer import DocumentBatch, write_merged, write_segment
from colsearch.store.tables import SegmentRow

# Values that JSON changes or that are hard to write: keys that are no strings, tuples, large and special
# numbers.
METADATA: list[dict[str, Any]] = [
    {},
    {"year": 1999, "tags": ("a", "b"), "deep": {"er": 1.5}},
    {1: "one", "1": "another", False: "no", None: "none"},
    {"large": 10**30, "tiny": 5e-324, "quote": '"\\', "text": "Ünï 😀\n\u2028", "empty": [[], {}, ""]},
]
IDS = ["plain", 7, 'with "quotes" \\ and \n', "ünïcödé 😀"]
TEXTS = [None, "", "text", "ünïcödé 😀\n"]


@pytest.fixture
def folder(tmp_path: Path) -> IndexFolder:
    folder = IndexFolder(tmp_path / "index")
    folder.make()
    return folder


def batch(first: int, last: int) -> DocumentBatch:
    """The documents first..last, with as many tokens as their number says."""
    doclens = np.arange(first, last, dtype=np.int64)
    n_tokens = int(doclens.sum())
    planes = (np.arange(n_tokens * 4, dtype=np.uint8).reshape(n_tokens, 4),)
    widths = (np.full(n_tokens, 0x3C00, np.uint16),)
    documents = slice(first, last)
    return DocumentBatch(IDS[documents], planes, widths, doclens, TEXTS[documents], METADATA[documents])


def test_the_documents_that_sqlite_gets_are_those_that_the_segment_gives(folder):
    row, documents = write_segment(folder, [batch(0, 1), batch(1, 4)], 40, {"dim": 8})
    segment = Segment(folder.path_of(FileKind.SEGMENT, row.name), verify="full")
    written = list(documents.numbered(40))
    assert written == list(segment.numbered_documents())
    assert [doc_no for doc_no, _ in written] == [40, 41, 42, 43]
    assert [document.id for _, document in written] == IDS
    assert [document.text for _, document in written] == TEXTS
    assert written[1][1].metadata["tags"] == ["a", "b"]
    assert written[2][1].metadata == {"1": "another", "false": "no", "null": "none"}


def test_the_row_that_sqlite_gets_describes_the_segment(folder):
    row, _ = write_segment(folder, [batch(0, 4)], 40, {"dim": 8})
    segment = Segment(folder.path_of(FileKind.SEGMENT, row.name))
    merged = write_merged(folder, [segment], [np.array([1, 3])])
    for written in (row, merged):
        path = folder.path_of(FileKind.SEGMENT, written.name)
        assert written == SegmentRow.describing(Segment(path))
        assert written.n_bytes == path.stat().st_size
    assert (row.first_doc_no, row.n_docs, row.n_tokens) == (40, 4, 6)
    assert (merged.first_doc_no, merged.n_docs, merged.n_tokens) == (41, 2, 4)
