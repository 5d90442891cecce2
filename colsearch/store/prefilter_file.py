"""A prefilter file: arrays that a fitted model computed from one segment, with one row per document.

A merge of segments that have such a file with segments that lack one writes a partial file. Its extra array
of bytes, `present`, says which rows count. The next optimization fills in the others.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colsearch.errors import DamagedError
from colsearch.store.container import Array, Container, Section
from colsearch.store.folder import FileKind, IndexFolder
from colsearch.store.tables import PrefilterRow
from colsearch.types import I64

PRESENT = "present"


def write_prefilter(
    folder: IndexFolder,
    segment: str,
    model: str,
    arrays: Mapping[str, Array],
    present: NDArray[np.bool_] | None = None,
) -> PrefilterRow:
    """Write the file for a segment; returns its row for SQLite.

    Args:
        segment, model: the names of their files.
        present: (n_docs,) the rows that count; None for all.
    Raises: StorageError: nothing is left behind.
    """
    sections = [Section.of(name, array) for name, array in arrays.items()]
    if present is not None and not present.all():
        sections.append(Section.of(PRESENT, present.astype(np.uint8)))
    name, n_bytes = folder.write(FileKind.PREFILTER, sections, _meta(segment, model))
    return PrefilterRow(segment, model, name, n_bytes)


def present_rows(file: Container | None, n_rows: int, rows: I64 | slice = slice(None)) -> NDArray[np.bool_]:
    """(n_rows,) which of these rows of a prefilter file count; none if there is no file."""
    if file is None:
        return np.zeros(n_rows, bool)
    if PRESENT not in file:
        return np.ones(n_rows, bool)
    present: NDArray[np.bool_] = file.rows(PRESENT)[rows] != 0
    return present


def open_prefilter(path: Path, segment: str, model: str, *, verify: str) -> Container:
    """Open the file of a segment and a model.

    Raises: DamagedError: also if the file belongs to another segment or model.
    """
    file = Container(path, verify=verify)
    if file.meta != _meta(segment, model):
        raise DamagedError(f"{path} belongs to another segment or model; run `colsearch check --repair`")
    return file


def _meta(segment: str, model: str) -> dict[str, str]:
    return {"kind": "prefilter", "segment": segment, "model": model}
