"""Few segments: adjacent ones are copied together, without what was deleted; no code changes."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from colsearch.errors import StorageError
from colsearch.store import files
from colsearch.store.database import UNFINISHED_NAMES
from colsearch.store.prefilter_file import PRESENT, present_rows, write_prefilter
from colsearch.store.segment import Segment, write_merged
from colsearch.store.snapshot import LiveSegment
from colsearch.store.tables import collect, delete_staged, forget_documents
from colsearch.types import I64

if TYPE_CHECKING:
    from colsearch.store.store import Store

# So many segments of a tier become one of the next; a tier is eight times the one before.
FANOUT = 8
_SMALLEST_TIER_TOKENS = 4096
# A segment with a smaller share of live documents is rewritten.
MIN_LIVE = 0.5


def merge_small(store: Store) -> None:
    """Merge the newest segments while there are too many of a size, and those that are mostly dead."""
    while run := _due(store.snapshot().segments):
        merge(store, run)


def _due(parts: Sequence[LiveSegment]) -> list[LiveSegment]:
    for part in parts:
        if part.n_live < MIN_LIVE * part.segment.n_docs:
            return [part]
    tiers = [_tier(part) for part in parts]
    for tier in sorted(set(tiers)):
        n = next((i for i, t in enumerate(reversed(tiers)) if t > tier), len(tiers))
        if n >= FANOUT:
            return list(parts[len(parts) - n :])
    return []


def _tier(part: LiveSegment) -> int:
    tokens = max(part.segment.n_tokens, 1)
    tier = 0
    while tokens > _SMALLEST_TIER_TOKENS:
        tokens //= FANOUT
        tier += 1
    return tier


def merge(store: Store, run: Sequence[LiveSegment]) -> None:
    """Replace adjacent segments by one that holds their live documents, in one commit."""
    if len(run) == 1 and run[0].live is None:
        return
    if not run:
        return
    old = [part.segment for part in run]
    kept = [np.arange(p.segment.n_docs) if p.live is None else np.flatnonzero(p.live) for p in run]
    dead = [np.empty(0, np.int64) if part.live is None else np.flatnonzero(~part.live) for part in run]
    name, n_bytes, merged = None, 0, None
    if sum(len(rows) for rows in kept):
        name, n_bytes = write_merged(store.segments_folder, old, kept)
        merged = Segment(store.segments_folder / name, verify="off")
    carried = None if merged is None else _carried(store, run, kept, merged.name)
    with store.database.writing() as connection:
        for segment, rows in zip(old, dead):
            forget_documents(connection, segment, rows)
            numbers = [(int(doc_no),) for doc_no in segment.doc_nos[rows]]
            connection.executemany("DELETE FROM tombstones WHERE doc_no = ?", numbers)
            connection.execute("DELETE FROM segments WHERE name = ?", (segment.name,))
            connection.execute("DELETE FROM prefilters WHERE segment = ?", (segment.name,))
        if merged is not None:
            row = (int(merged.doc_nos[0]), name, merged.n_docs, merged.n_tokens, n_bytes, 0)
            connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)", row)
        if carried is not None:
            connection.execute("INSERT INTO prefilters VALUES (?, ?, ?, ?)", carried)
    store.invalidate_snapshot()
    collect(store)


def _carried(
    store: Store, run: Sequence[LiveSegment], kept: Sequence[I64], segment: str
) -> tuple[str, str, str, int] | None:
    """The prefilter rows of the kept documents as a file for the merged segment, if any of them have some."""
    model = store.snapshot().model
    pieces = [(part.prefilter or part.partial_prefilter, rows) for part, rows in zip(run, kept)]
    known = next((file for file, _ in pieces if file is not None), None)
    if model is None or known is None:
        return None
    arrays = {}
    for name in known.section_bytes():
        if name != PRESENT:
            like = known.rows(name)
            arrays[name] = np.concatenate(
                [
                    np.zeros((len(rows), *like.shape[1:]), like.dtype)
                    if file is None
                    else file.rows(name)[rows]
                    for file, rows in pieces
                ]
            )
    present = np.concatenate([present_rows(file, len(rows), rows) for file, rows in pieces])
    name, n_bytes = write_prefilter(store.segments_folder, segment, model.name, arrays, present)
    return segment, model.name, name, n_bytes


def purge(store: Store) -> None:
    """Rewrite every file that holds bytes of deleted documents: segments, text index, SQLite itself.

    What killed calls have left may hold some too: builds that are not finished, and files that no row names.
    """
    try:
        delete_staged(store)
        for name in UNFINISHED_NAMES:
            files.remove(store.path / name)
        for part in store.snapshot().segments:
            if part.live is not None:
                merge(store, [part])
        vacuum(store)
    except (StorageError, MemoryError) as error:
        raise StorageError(
            getattr(error, "errno", errno.ENOMEM),
            f"the documents are deleted, but bytes of them remain until `compact` runs: {error}",
        ) from error


def vacuum(store: Store) -> None:
    """Rewrite the SQLite file, without what was deleted."""
    with store.database.writing() as connection:
        # Merging all of FTS5's segments is what really drops deleted terms.
        connection.execute("INSERT INTO texts (texts) VALUES ('optimize')")
    with store.database.locked() as connection:
        connection.execute("VACUUM")
