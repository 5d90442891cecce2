"""Candidates -> scores: MaxSim over the stored codes, segment by segment."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

import colsearch_kernels as kernels
from colsearch.codec.rotated import RotatedCodec
from colsearch.scoring.device import Device
from colsearch.store.segment import Segment
from colsearch.store.snapshot import LiveSegment, Snapshot
from colsearch.types import F32, I64, Profile

# Scores held at once while several queries are scanned: 32 MB.
_BATCH_SCORES = 1 << 23


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents best first; equal scores in insertion order.

    Attributes:
        doc_nos: (n,) int64.
        scores: (n,) float32.
    """

    doc_nos: I64
    scores: F32

    @classmethod
    def best(cls, doc_nos: I64, scores: F32, k: int) -> "Ranking":
        """The k best of documents in any order; a document without tokens (-inf) is never among them."""
        order = kernels.best_k(scores, doc_nos, k)
        return cls(doc_nos[order], scores[order])

    def recall(self, exact: "Ranking") -> float:
        """The share of an exact ranking that is here; documents of equal score are as good as each other."""
        if not len(exact.scores):
            return 1.0
        return float(min((self.scores >= exact.scores[-1]).sum(), len(exact.scores)) / len(exact.scores))

    @classmethod
    def joined(cls, rankings: Sequence["Ranking"], k: int) -> "Ranking":
        """The k best of several rankings of different documents, each of them best first."""
        rankings = [ranking for ranking in rankings if len(ranking.doc_nos)]
        if not rankings:
            return cls(np.empty(0, np.int64), np.empty(0, np.float32))
        if len(rankings) == 1:
            [only] = rankings
            return cls(only.doc_nos[:k], only.scores[:k])
        return cls.best(
            np.concatenate([ranking.doc_nos for ranking in rankings]),
            np.concatenate([ranking.scores for ranking in rankings]),
            k,
        )


class Scorer:
    """Scores documents of a snapshot against queries: always the same number for the same pair.

    Args:
        device: where codes are copied to and scored; None for the CPU, which reads them where they are stored.
    """

    def __init__(self, codec: RotatedCodec, device: Device | None = None) -> None:
        self.codec = codec
        self.device = device
        self._codes: WeakKeyDictionary[Segment, kernels.Codes] = WeakKeyDictionary()

    def prepare(self, query: F32) -> kernels.QuantizedQuery:
        """(n_query_tokens, dim) -> the query as the kernels take it."""
        return self.codec.prepare_query(query)

    def codes(self, segment: Segment) -> kernels.Codes:
        """The segment's memory-mapped planes as the kernels take them."""
        codes = self._codes.get(segment)
        if codes is None:
            codes = self.codec.codes(segment.planes, segment.widths, segment.offsets)
            self._codes[segment] = codes
        return codes

    def scan(
        self,
        parts: Sequence[LiveSegment],
        queries: Sequence[kernels.QuantizedQuery],
        k: int,
        *,
        allowed: I64 | None,
        n_threads: int,
        profile: Profile,
    ) -> list[Ranking]:
        """Per query, the k best of all live documents, or of those among the sorted doc_nos `allowed`: exact.

        Several queries share one pass over the codes.
        """
        found: list[list[Ranking]] = [[] for _ in queries]
        for part in parts:
            ordinals = searchable(part, allowed)
            if ordinals is not None and not len(ordinals):
                continue
            _count(profile, part.segment, ordinals)
            if self.device is not None:
                best = self.device.best(
                    part.segment, self.codes(part.segment), queries, k,
                    ordinals=None if allowed is None else ordinals, live=part.live,
                )  # fmt: skip
                for rankings, (hits, scores) in zip(found, best):
                    rankings.append(Ranking(part.segment.doc_nos[hits], scores))
                continue
            part.segment.verify(ordinals)
            n_docs = part.segment.n_docs if ordinals is None else len(ordinals)
            at_once = max(1, _BATCH_SCORES // n_docs)
            for first in range(0, len(queries), at_once):
                batch = queries[first : first + at_once]
                scores = kernels.score_codes_batch(
                    batch, self.codes(part.segment), ordinals=ordinals, n_threads=n_threads
                )
                numbers = part.segment.doc_nos if ordinals is None else part.segment.doc_nos[ordinals]
                for rankings, row in zip(found[first:], scores):
                    rankings.append(Ranking.best(numbers, row, k))
        return [Ranking.joined(rankings, k) for rankings in found]

    def score(
        self,
        snapshot: Snapshot,
        query: kernels.QuantizedQuery,
        doc_nos: I64,
        *,
        n_planes: int | None = None,
        n_threads: int,
        profile: Profile,
    ) -> F32:
        """(n,) float32 MaxSim of each document, in the order given."""
        scores = np.empty(len(doc_nos), np.float32)
        part_of, ordinal_of = snapshot.locate(doc_nos)
        for number, part in enumerate(snapshot.segments):
            rows = np.flatnonzero(part_of == number)
            if not rows.size:
                continue
            ordinals, codes = ordinal_of[rows], self.codes(part.segment)
            _count(profile, part.segment, ordinals)
            if self.device is not None:
                scores[rows] = self.device.scores(part.segment, codes, query, ordinals, n_planes)
                continue
            part.segment.verify(ordinals, n_planes)
            scores[rows] = kernels.score_codes(
                query, codes, ordinals=ordinals, n_planes=n_planes, n_threads=n_threads
            )
        return scores

    def align(self, snapshot: Snapshot, query: kernels.QuantizedQuery, doc_no: int) -> tuple[I64, F32] | None:
        """Best token of the document and its part of the score, for each query token; None without tokens."""
        part, ordinal = (int(n[0]) for n in snapshot.locate(np.array([doc_no], np.int64)))
        segment = snapshot.segments[part].segment
        if segment.offsets[ordinal] == segment.offsets[ordinal + 1]:
            return None
        segment.verify(np.array([ordinal]))
        best, shares = kernels.align(query, self.codes(segment), ordinal)
        return best, shares


def searchable(part: LiveSegment, allowed: I64 | None) -> I64 | None:
    """The live ordinals of the segment whose documents are among the sorted doc_nos; None for all of them."""
    if allowed is None:
        return None if part.live is None else np.flatnonzero(part.live)
    return part.ordinals(allowed)


def _count(profile: Profile, segment: Segment, ordinals: I64 | None) -> None:
    if ordinals is None:
        n_docs, n_tokens = segment.n_docs, segment.n_tokens
    else:
        n_docs = len(ordinals)
        n_tokens = int((segment.offsets[ordinals + 1] - segment.offsets[ordinals]).sum())
    profile.n_scored += n_docs
    profile.n_tokens_scored += n_tokens
    profile.bytes_read += n_tokens * sum(plane.shape[1] + 2 for plane in segment.planes)
