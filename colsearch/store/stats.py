"""What an index holds and costs, in figures."""

from typing import Any

from colsearch.config import IndexConfig
from colsearch.store.store import Store

_RETRIEVAL = ("plane", "width", "offsets", "doc_nos")
_HOT = ("plane0", "width0", "offsets", "doc_nos")


def describe(store: Store, config: IndexConfig) -> dict[str, Any]:
    """The figures of `ColIndex.info`."""
    snapshot = store.snapshot()
    segments = [part.segment for part in snapshot.segments]
    n_tokens = max(sum(segment.n_tokens for segment in segments), 1)
    prefilters = [part.prefilter for part in snapshot.segments]
    prefilter_bytes = sum(file.n_bytes for file in prefilters if file)
    sizes = [item for segment in segments for item in segment.file.section_bytes().items()]
    hot = sum(n for name, n in sizes if name in _HOT) + prefilter_bytes
    retrieval = sum(n for name, n in sizes if name.startswith(_RETRIEVAL)) + prefilter_bytes
    everything = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
    return {
        "path": str(store.path),
        "n_docs": snapshot.n_docs,
        "n_tokens": sum(segment.n_tokens for segment in segments),
        "n_segments": len(segments),
        "dim": config.dim,
        "planes": list(config.planes),
        "encoder": config.encoder,
        "fingerprint": config.fingerprint,
        "prefilter": None if snapshot.model is None else snapshot.model.name,
        "n_prefiltered_segments": sum(file is not None for file in prefilters),
        "bytes_per_token": {
            "memory": round(hot / n_tokens, 1),
            "disk": round(retrieval / n_tokens, 1),
            "all": round(everything / n_tokens, 1),
        },
    }
