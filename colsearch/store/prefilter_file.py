"""What a prefilter's model made of a segment: a container of arrays with one row per document.

A merge of segments that have such a file with others that lack it makes a partial one, with an array of
bytes, `present`, that says which rows count; the next optimization fills in the others.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colsearch.errors import DamagedError
from colsearch.store import container
from colsearch.store.container import Array, Container, Section
from colsearch.types import I64

SUFFIX = ".pre"
PRESENT = "present"


def write_prefilter(
    folder: Path,
    segment: str,
    model: str,
    arrays: Mapping[str, Array],
    present: NDArray[np.bool_] | None = None,
) -> tuple[str, int]:
    """Write the file for a segment; returns its name and size in bytes.

    Args:
        present: (n_docs,) the rows that count; None for all.
    """
    sections = [Section.of(name, array) for name, array in arrays.items()]
    if present is not None and not present.all():
        sections.append(Section.of(PRESENT, present.astype(np.uint8)))
    return container.write(folder, SUFFIX, sections, _meta(segment, model))


def present_rows(file: Container | None, n_rows: int, rows: I64 | slice = slice(None)) -> NDArray[np.bool_]:
    """(n_rows,) which of these rows of a prefilter file count; none if there is no file."""
    if file is None:
        return np.zeros(n_rows, bool)
    if PRESENT not in file:
        return np.ones(n_rows, bool)
    present: NDArray[np.bool_] = file.rows(PRESENT)[rows] != 0
    return present


def open_prefilter(path: Path, segment: str, model: str, *, verify: str) -> Container:
    """Raises: DamagedError: also if the file belongs to another segment or model."""
    file = Container(path, verify=verify)
    if file.meta != _meta(segment, model):
        raise DamagedError(f"{path} belongs to another segment or model; run `colsearch check --repair`")
    return file


def _meta(segment: str, model: str) -> dict[str, str]:
    return {"kind": "prefilter", "segment": segment, "model": model}
