"""Builds a `ColIndex` of a workload, for the figures about colsearch alone."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.workload import Workload

if TYPE_CHECKING:
    from colsearch import ColIndex
    from colsearch.codec.rotated import EncodedTokens


def build_index(
    folder: Path,
    workload: Workload,
    *,
    planes: Sequence[int] = (4, 4),
    n_threads: int = 1,
    texts: Iterable[str] | None = None,
    metadata: Iterable[Mapping[str, Any]] | None = None,
    with_encoder: bool = False,
) -> "ColIndex":
    """Build a new index in `folder` and delete anything there before. Document ids are rows of the workload.

    Args:
        with_encoder: build an index with the embedded encoder, which made the vectors, so that queries can be
            texts; otherwise an index of vectors.
    """
    from colsearch import ColIndex

    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    dim = None if with_encoder else workload.dim
    index = ColIndex.create(folder, dim=dim, planes=tuple(planes), n_threads=n_threads)
    index.add_vectors(workload.iterate(), ids=range(workload.n_docs), texts=texts, metadata=metadata)
    index.compact()
    index.optimize()
    return index


def bytes_of_planes(encoded: "EncodedTokens") -> list[int]:
    """Bytes per token of each plane with its widths; scans keep the first in memory, the disk has all."""
    return [plane.shape[1] + width.itemsize for plane, width in zip(encoded.planes, encoded.widths)]


def hit_ids(hits: Iterable[Any]) -> list[int]:
    return [int(hit.id) for hit in hits]
