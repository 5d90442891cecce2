"""Keeping segments few: adjacent ones are copied together, without what was deleted; no code changes."""

import logging
from collections.abc import Sequence

import numpy as np

from colsearch.errors import DamagedError, StorageError
from colsearch.store import schema, tables
from colsearch.store.prefilter_file import PRESENT, present_rows, write_prefilter
from colsearch.store.segment_writer import write_merged
from colsearch.store.snapshot import LiveSegment
from colsearch.store.tables import PrefilterRow
from colsearch.store.writer import Writer
from colsearch.types import I64

_log = logging.getLogger(__name__)
# This many segments of one tier are merged into one of the next, whose segments are this many times larger.
FANOUT = 8
_SMALLEST_TIER_TOKENS = 4096
# A segment with a smaller share of live documents is rewritten.
MIN_LIVE = 0.5


def merge_after_write(writer: Writer) -> None:
    """Merge what is due after a committed write; the lock must be held.

    A merge that fails is put off, because the write itself has succeeded.
    """
    try:
        while run := _due(writer.reader.snapshot().segments):
            merge(writer, run)
    except (StorageError, DamagedError, MemoryError) as error:
        _log.warning("%s: a merge was put off until the next write: %s", writer.folder.path, error)


def compact(writer: Writer) -> None:
    """Merge all segments into one, drop what was deleted, and give the disk space back."""
    with writer.lock():
        merge(writer, writer.reader.snapshot().segments)
        vacuum(writer)


def merge(writer: Writer, run: Sequence[LiveSegment]) -> None:
    """Replace adjacent segments by one with their live documents, in one commit; the lock must be held."""
    if not run or (len(run) == 1 and run[0].live is None):
        return
    kept = [live_segment.live_ordinals() for live_segment in run]
    merged = carried = None
    if sum(len(ordinals) for ordinals in kept):
        merged = write_merged(writer.folder, [live_segment.segment for live_segment in run], kept)
        carried = _carried_prefilter(writer, run, kept, merged.name)
    with writer.transaction() as connection:
        for live_segment in run:
            segment, dead = live_segment.segment, live_segment.dead_ordinals()
            tables.forget_contents(connection, segment.numbered_documents(dead))
            tables.delete_tombstones(connection, segment.doc_nos[dead].tolist())
            tables.delete_segment(connection, segment.name)
        if merged is not None:
            tables.insert_segment(connection, merged, staged=False)
        if carried is not None:
            tables.insert_prefilter(connection, carried)
    writer.sweep()


def vacuum(writer: Writer) -> None:
    """Rewrite the text index and the SQLite file without what was deleted; the lock must be held."""
    with writer.transaction() as connection:
        tables.optimize_texts(connection)
    with writer.database.locked() as connection:
        schema.vacuum(connection)


def _due(live_segments: Sequence[LiveSegment]) -> Sequence[LiveSegment]:
    """The next segments to merge: one that is mostly dead, else the newest if too many are of one size."""
    for live_segment in live_segments:
        if live_segment.n_live < MIN_LIVE * live_segment.segment.n_docs:
            return [live_segment]
    tiers = [_tier(live_segment) for live_segment in live_segments]
    for tier in sorted(set(tiers)):
        # The newest segments, back to the first one that is of a higher tier.
        n_newest = next((i for i, t in enumerate(reversed(tiers)) if t > tier), len(tiers))
        if n_newest >= FANOUT:
            return live_segments[len(live_segments) - n_newest :]
    return []


def _tier(live_segment: LiveSegment) -> int:
    tokens = live_segment.segment.n_tokens
    tier = 0
    while tokens > _SMALLEST_TIER_TOKENS:
        tokens //= FANOUT
        tier += 1
    return tier


def _carried_prefilter(
    writer: Writer, run: Sequence[LiveSegment], kept: Sequence[I64], merged: str
) -> PrefilterRow | None:
    """Write the kept documents' prefilter rows as a file for the merged segment; None if there are none."""
    model = writer.reader.snapshot().model
    files = [live_segment.prefilter or live_segment.partial_prefilter for live_segment in run]
    example = next((file for file in files if file is not None), None)
    if model is None or example is None:
        return None
    arrays = {}
    for name in example.section_bytes():
        if name == PRESENT:
            continue
        like = example.rows(name)
        arrays[name] = np.concatenate(
            [
                np.zeros((len(ordinals), *like.shape[1:]), like.dtype)
                if file is None
                else file.rows(name)[ordinals]
                for file, ordinals in zip(files, kept)
            ]
        )
    present = np.concatenate([present_rows(file, len(rows), rows) for file, rows in zip(files, kept)])
    return write_prefilter(writer.folder, merged, model.name, arrays, present)
