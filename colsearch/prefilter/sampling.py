"""Samples of an index's documents, copied out of their segments, for a fit or a calibration."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from colsearch.prefilter.settings import PrefilterSettings
from colsearch.scoring.scorer import Scorer
from colsearch.store.snapshot import LiveSegment, Snapshot
from colsearch.types import I64
from colsearch_kernels import Codes
from colsearch_kernels.layout.ragged import indices_of_ranges


def sample_documents(
    snapshot: Snapshot,
    scorer: Scorer,
    settings: PrefilterSettings,
    rng: np.random.Generator,
    *,
    first_doc_no: int = 0,
) -> tuple[Codes, I64]:
    """Copies of random live documents with tokens, and their doc_nos in ascending order.

    Args:
        first_doc_no: documents with lower numbers are left out.
    """
    doc_nos = np.concatenate(
        [live_segment.segment.doc_nos[can_be_hits(live_segment)] for live_segment in snapshot.segments]
    )
    doc_nos = doc_nos[doc_nos >= first_doc_no]
    mean_tokens = snapshot.n_tokens / max(snapshot.n_docs, 1)
    n_docs = min(settings.sample_docs, max(settings.min_docs, int(settings.sample_tokens / mean_tokens)))
    chosen = np.sort(rng.permutation(doc_nos)[:n_docs])
    copies = []
    for live_segment in snapshot.segments:
        segment, ordinals = live_segment.segment, live_segment.ordinals(chosen)
        segment.verify(ordinals)
        copies.append(gather(scorer.codes(segment), ordinals))
        segment.file.release()
    return join(copies), chosen


def can_be_hits(live_segment: LiveSegment) -> NDArray[np.bool_]:
    """(n_docs,) bool, the documents that live and have tokens."""
    can_be: NDArray[np.bool_] = np.diff(live_segment.segment.offsets) > 0
    if live_segment.live is not None:
        can_be &= live_segment.live
    return can_be


def gather(codes: Codes, ordinals: I64) -> Codes:
    """The codes of some documents, copied."""
    starts, stops = codes.offsets[ordinals], codes.offsets[ordinals + 1]
    lengths = stops - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = indices_of_ranges(starts, lengths)
    return Codes(
        codes.dim,
        codes.plane_bits,
        tuple(np.ascontiguousarray(plane[rows]) for plane in codes.planes),
        tuple(np.ascontiguousarray(width[rows]) for width in codes.widths),
        offsets,
    )


def join(pieces: Sequence[Codes]) -> Codes:
    """Documents of several segments, one after the other, copied; at least one piece."""
    starts = np.cumsum([0, *(piece.n_tokens for piece in pieces)])
    offsets = [piece.offsets[1:] + start for piece, start in zip(pieces, starts)]
    return Codes(
        pieces[0].dim,
        pieces[0].plane_bits,
        tuple(np.concatenate(planes) for planes in zip(*(piece.planes for piece in pieces))),
        tuple(np.concatenate(widths) for widths in zip(*(piece.widths for piece in pieces))),
        np.concatenate([np.zeros(1, np.int64), *offsets]),
    )
