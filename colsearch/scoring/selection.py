"""Which documents a search may return: those of a snapshot that are live and pass the filter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from colsearch.store.container import Container
from colsearch.store.segment import Segment
from colsearch.store.snapshot import LiveSegment
from colsearch.types import I64


@dataclass(frozen=True, slots=True)
class SelectedSegment:
    """A segment and those of its documents that a search may return.

    Attributes:
        segment: where their codes lie.
        prefilter: the segment's document codes; None in the tail, which is scanned.
        ordinals: ascending ordinals of the selected documents; None for all of the segment's.
        live: (n_docs,) bool, the documents that are not deleted; None for all.
        filtered: whether a filter chose among the live documents.
        n_docs, n_tokens: how many are selected.
    """

    segment: Segment
    prefilter: Container | None
    ordinals: I64 | None
    live: NDArray[np.bool_] | None
    filtered: bool
    n_docs: int
    n_tokens: int

    def mask(self) -> NDArray[np.bool_] | None:
        """(n_docs of the segment,) bool, which documents can be hits: selected, and with tokens; None for all."""
        tokenless = self.segment.tokenless
        if self.ordinals is None:
            return None if tokenless is None else ~tokenless
        selected = np.zeros(self.segment.n_docs, bool)
        selected[self.ordinals] = True
        if tokenless is not None:
            selected &= ~tokenless
        return selected


def select(live_segments: Iterable[LiveSegment], allowed: I64 | None = None) -> list[SelectedSegment]:
    """The live documents of each segment, or those among the sorted doc_nos `allowed`."""
    return [_selected(live_segment, allowed) for live_segment in live_segments]


def joined_mask(selected: Iterable[SelectedSegment]) -> NDArray[np.bool_] | None:
    """The segments' masks end to end; None if every document of every segment can be a hit."""
    masks = [(one.mask(), one.segment.n_docs) for one in selected]
    if all(mask is None for mask, _ in masks):
        return None
    return np.concatenate([np.ones(n_docs, bool) if mask is None else mask for mask, n_docs in masks])


def _selected(live_segment: LiveSegment, allowed: I64 | None) -> SelectedSegment:
    segment, live = live_segment.segment, live_segment.live
    ordinals: I64 | None = None
    if allowed is not None:
        ordinals = live_segment.ordinals(allowed)
    elif live is not None:
        ordinals = np.flatnonzero(live)
    if ordinals is None:
        n_docs, n_tokens = segment.n_docs, segment.n_tokens
    else:
        n_docs = len(ordinals)
        n_tokens = int((segment.offsets[ordinals + 1] - segment.offsets[ordinals]).sum())
    return SelectedSegment(
        segment, live_segment.prefilter, ordinals, live, allowed is not None, n_docs, n_tokens
    )
