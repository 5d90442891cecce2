"""MaxSim over the stored codes of a snapshot, segment by segment, on the CPU or on a device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

import colsearch_kernels as kernels
from colsearch.codec.rotated import RotatedCodec
from colsearch.scoring.device import Device
from colsearch.scoring.ranking import Ranking
from colsearch.scoring.selection import SelectedSegment
from colsearch.store.segment import Segment
from colsearch.store.snapshot import Snapshot
from colsearch.types import F32, I64, Profile

# Scores held at once while several queries are scanned: 32 MB.
_BATCH_SCORES = 1 << 23
# The name of a stage, and when it ended in seconds of `perf_counter`.
Mark: TypeAlias = tuple[str, float]


@dataclass(slots=True)
class SearchContext:
    """Threads and counters of one query, or of several that are scanned together.

    Attributes:
        n_threads: threads to use.
        profile: counters of what was done so far.
        marks: of the stages so far; the first mark is the start.
    """

    n_threads: int
    profile: Profile = field(default_factory=Profile)
    marks: list[Mark] = field(default_factory=list)


def stage_ms(marks: Sequence[Mark]) -> dict[str, float]:
    """Wall milliseconds of each stage; a mark without a name only starts the clock anew."""
    milliseconds: defaultdict[str, float] = defaultdict(float)
    for (_, start), (name, end) in pairwise(marks):
        if name:
            milliseconds[name] += (end - start) * 1e3
    return dict(milliseconds)


class Scorer:
    """Scores documents of a snapshot against queries; the same pair has the same score on every machine.

    Args:
        device: copies the codes and scores them there; None scores on the CPU, where the codes are stored.
    """

    def __init__(self, codec: RotatedCodec, device: Device | None = None) -> None:
        self.codec = codec
        self.device = device
        self._codes: WeakKeyDictionary[Segment, kernels.Codes] = WeakKeyDictionary()

    def codes(self, segment: Segment) -> kernels.Codes:
        """The segment's memory-mapped token codes as the kernels take them."""
        codes = self._codes.get(segment)
        if codes is None:
            codes = self.codec.codes(segment.planes, segment.widths, segment.offsets)
            self._codes[segment] = codes
        return codes

    def scan(
        self,
        selected: Sequence[SelectedSegment],
        queries: Sequence[kernels.QuantizedQuery],
        k: int,
        context: SearchContext,
    ) -> list[Ranking]:
        """For each query, the k best of all selected documents: exact.

        All queries share one pass over the codes.
        """
        rankings: list[list[Ranking]] = [[] for _ in queries]
        for part in selected:
            if not part.n_docs:
                continue
            _count(context.profile, part.segment, part.n_docs, part.n_tokens)
            score = self._scan_on_cpu if self.device is None else self._scan_on_device
            for of_query, ranking in zip(rankings, score(part, queries, k, context.n_threads)):
                of_query += ranking
        return [Ranking.joined(of_query, k) for of_query in rankings]

    def _scan_on_device(
        self, part: SelectedSegment, queries: Sequence[kernels.QuantizedQuery], k: int, n_threads: int
    ) -> list[list[Ranking]]:
        assert self.device is not None
        segment = part.segment
        best = self.device.best(
            segment,
            self.codes(segment),
            queries,
            k,
            ordinals=part.ordinals if part.filtered else None,
            live=part.live,
        )
        return [[Ranking(segment.doc_nos[ordinals], scores)] for ordinals, scores in best]

    def _scan_on_cpu(
        self, part: SelectedSegment, queries: Sequence[kernels.QuantizedQuery], k: int, n_threads: int
    ) -> list[list[Ranking]]:
        segment = part.segment
        segment.verify(part.ordinals)
        doc_nos = segment.doc_nos if part.ordinals is None else segment.doc_nos[part.ordinals]
        n_together = max(1, _BATCH_SCORES // part.n_docs)
        rankings = []
        for first in range(0, len(queries), n_together):
            scores = kernels.score_codes_batch(
                queries[first : first + n_together],
                self.codes(segment),
                ordinals=part.ordinals,
                n_threads=n_threads,
            )
            rankings += [[Ranking.best(doc_nos, row, k)] for row in scores]
        return rankings

    def score(
        self, snapshot: Snapshot, query: kernels.QuantizedQuery, doc_nos: I64, context: SearchContext
    ) -> F32:
        """(n,) float32 MaxSim of each document, in the order given."""
        scores = np.empty(len(doc_nos), np.float32)
        segment_of, ordinal_of = snapshot.locate(doc_nos)
        for number, live_segment in enumerate(snapshot.segments):
            rows = np.flatnonzero(segment_of == number)
            if not rows.size:
                continue
            segment, ordinals = live_segment.segment, ordinal_of[rows]
            codes = self.codes(segment)
            n_tokens = int((segment.offsets[ordinals + 1] - segment.offsets[ordinals]).sum())
            _count(context.profile, segment, len(ordinals), n_tokens)
            if self.device is not None:
                scores[rows] = self.device.scores(segment, codes, query, ordinals)
                continue
            segment.verify(ordinals)
            scores[rows] = kernels.score_codes(query, codes, ordinals=ordinals, n_threads=context.n_threads)
        return scores

    def align(self, snapshot: Snapshot, query: kernels.QuantizedQuery, doc_no: int) -> tuple[I64, F32] | None:
        """For each query token, the document's best token and its similarity; None for a document without tokens."""
        number, ordinal = (int(n[0]) for n in snapshot.locate(np.array([doc_no], np.int64)))
        segment = snapshot.segments[number].segment
        if segment.offsets[ordinal] == segment.offsets[ordinal + 1]:
            return None
        segment.verify(np.array([ordinal]))
        return kernels.align(query, self.codes(segment), ordinal)


def _count(profile: Profile, segment: Segment, n_docs: int, n_tokens: int) -> None:
    profile.n_scored += n_docs
    profile.n_tokens_scored += n_tokens
    profile.bytes_read += n_tokens * bytes_per_token(segment, None)


def bytes_per_token(segment: Segment, n_planes: int | None) -> int:
    """Bytes that scoring a token reads: its rows in the first `n_planes` planes (all if None), and their widths."""
    return sum(plane.shape[1] + 2 for plane in segment.planes[:n_planes])
