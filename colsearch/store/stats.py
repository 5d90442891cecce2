"""Figures about an index: what it holds, and how many bytes it takes."""

from typing import Any

from colsearch.config import IndexConfig
from colsearch.store.folder import IndexFolder
from colsearch.store.snapshot import Snapshot

# Sections that searches may read, and those that they read for every document that they score.
_RETRIEVAL_PREFIXES = ("plane", "width", "offsets", "doc_nos")
_MEMORY = ("plane0", "width0", "offsets", "doc_nos")


def describe(folder: IndexFolder, snapshot: Snapshot, config: IndexConfig) -> dict[str, Any]:
    """The figures of `ColIndex.info`."""
    segments = [live_segment.segment for live_segment in snapshot.segments]
    prefilters = [live_segment.prefilter for live_segment in snapshot.segments if live_segment.prefilter]
    return {
        "path": str(folder.path),
        "n_docs": snapshot.n_docs,
        "n_tokens": snapshot.n_tokens,
        "n_segments": len(segments),
        "dim": config.dim,
        "planes": list(config.planes),
        "encoder": config.encoder,
        "fingerprint": config.fingerprint,
        "prefilter": None if snapshot.model is None else snapshot.model.name,
        "n_prefiltered_segments": len(prefilters),
        "bytes_per_token": _bytes_per_token(folder, snapshot),
    }


def _bytes_per_token(folder: IndexFolder, snapshot: Snapshot) -> dict[str, float]:
    """Bytes that searches keep in memory, that they may read from the disk, and of all files."""
    sections = [
        section
        for live_segment in snapshot.segments
        for section in live_segment.segment.file.section_bytes().items()
    ]
    n_prefilter = sum(
        live_segment.prefilter.n_bytes for live_segment in snapshot.segments if live_segment.prefilter
    )
    n_memory = sum(n_bytes for name, n_bytes in sections if name in _MEMORY)
    n_disk = sum(n_bytes for name, n_bytes in sections if name.startswith(_RETRIEVAL_PREFIXES))
    n_tokens = max(snapshot.n_tokens, 1)
    return {
        "memory": round((n_memory + n_prefilter) / n_tokens, 1),
        "disk": round((n_disk + n_prefilter) / n_tokens, 1),
        "all": round(sum(folder.sizes_bytes()) / n_tokens, 1),
    }
