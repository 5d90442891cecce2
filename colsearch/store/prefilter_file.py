"""What a prefilter's model made of a segment: a container of arrays with one row per document."""

from collections.abc import Mapping
from pathlib import Path

from colsearch.errors import DamagedError
from colsearch.store import container
from colsearch.store.container import Array, Container, Section

SUFFIX = ".pre"


def write_prefilter(folder: Path, segment: str, model: str, arrays: Mapping[str, Array]) -> tuple[str, int]:
    """Write the file for a segment; returns its name and size in bytes."""
    sections = [Section.of(name, array) for name, array in arrays.items()]
    return container.write(folder, SUFFIX, sections, _meta(segment, model))


def open_prefilter(path: Path, segment: str, model: str, *, verify: str) -> Container:
    """Raises: DamagedError: also if the file belongs to another segment or model."""
    file = Container(path, verify=verify)
    if file.meta != _meta(segment, model):
        raise DamagedError(f"{path} belongs to another segment or model; run `colsearch check --repair`")
    return file


def _meta(segment: str, model: str) -> dict[str, str]:
    return {"kind": "prefilter", "segment": segment, "model": model}
