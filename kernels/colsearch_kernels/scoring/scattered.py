"""One query against documents of several segments, a few at a time: what following a list of candidates takes.

All that does not change from block to block is prepared once: addresses of the documents, the query's lanes.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from colsearch_kernels import reference
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import F32, I64, U8, Codes, QuantizedQuery, address
from colsearch_kernels.layout.packing import PackedQueries, Rows, aligned_block, scratch_bytes
from colsearch_kernels.runtime import pool
from colsearch_kernels.runtime.native import Kernel
from colsearch_kernels.scoring import stop_rule
from colsearch_kernels.scoring.codes import checked_ordinals, ns_per_token

_score_pieces, _score_until = Kernel("integer.score_pieces"), Kernel("following.score_until")
_observe = Kernel("following.observe")

# What a walk must cost before other threads join it, which most do not; how much a thread then takes at a time, and
# how many times that, for each thread, a piece may be ahead of the first one that is not scored. A helper that has
# lost its core would keep its piece for milliseconds.
_ALONE_NS, _PIECE_NS, _AHEAD = 1e6, 2e5, 4
# Candidates made ready at once, where they are not.
_READY_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Followed:
    """Attributes:
    scores: (n,) float32 MaxSim of the first n candidates.
    complete: False if the candidates came to an end before one was out of reach.
    """

    scores: F32
    complete: bool


class Scattered:
    """Where the documents of several segments lie, 8 * (3 or 5) bytes each, numbered one segment after another.

    Attributes:
        n_docs: of all segments.
        doclens: (n_docs,) int64.
        mean_doclen: of all segments.
    Raises: KernelInputError: if the segments are not of one codec.
    """

    def __init__(self, segments: Sequence[Codes]) -> None:
        if not segments:
            raise KernelInputError("there are no segments")
        first = segments[0]
        if any((one.plane_bits, one.padded_dim) != (first.plane_bits, first.padded_dim) for one in segments):
            raise KernelInputError("the segments have different planes or dims")
        # Keeps the memory of the addresses alive.
        self._segments = tuple(segments)
        self.plane_bits, self.padded_dim = first.plane_bits, first.padded_dim
        self.doclens = np.concatenate([codes.doclens for codes in segments])
        self.n_docs = len(self.doclens)
        self.mean_doclen = float(self.doclens.mean()) if self.n_docs else 0.0
        n_planes = len(self.plane_bits)
        self._planes = [self._addresses([c.planes[i] for c in segments]) for i in range(n_planes)]
        self._widths = [self._addresses([c.widths[i] for c in segments]) for i in range(n_planes)]
        self._rows = [self._rows_of(n) for n in range(1, n_planes + 1)]

    def _addresses(self, arrays: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> I64:
        return np.concatenate(
            [
                address(array) + codes.offsets[:-1] * (array.nbytes // max(len(array), 1))
                for array, codes in zip(arrays, self._segments)
            ]
        )

    def rows(self, n_planes: int) -> Rows:
        """What `Rows` says of every document; of the addresses, tables of them."""
        return self._rows[n_planes - 1]

    def _rows_of(self, n_planes: int) -> Rows:
        return replace(
            Rows.of_codes(self._segments[0], n_planes),
            plane0=address(self._planes[0]),
            plane1=address(self._planes[n_planes - 1]),
            widths=address(self._widths[n_planes - 1]),
            offsets=address(self.doclens),
        )


class ScatteredScorer:
    """MaxSim of one query with documents of a `Scattered`, the same numbers as `score_codes` gives.

    Args:
        n_planes: how many planes to read; None for all of them.
    Raises: KernelInputError.
    """

    def __init__(self, query: QuantizedQuery, documents: Scattered, *, n_planes: int | None = None) -> None:
        n_planes = reference.checked_n_planes(n_planes, documents.plane_bits)
        if query.padded_dim != documents.padded_dim:
            raise KernelInputError(
                f"the query has padded dim {query.padded_dim}, the documents have {documents.padded_dim}"
            )
        self._documents = documents
        self._rows = documents.rows(n_planes)
        self._packed = PackedQueries([query], self._rows)
        self._ns_per_token = ns_per_token(self._packed.n_vectors, self._rows.n_dims)

    def score(self, numbers: I64, *, n_threads: int = 1) -> F32:
        """(n,) float32 MaxSim of the documents of these numbers; -inf for one without tokens."""
        order = np.ascontiguousarray(checked_ordinals(numbers, self._documents.n_docs))
        scores = np.empty(len(order), np.float32)
        pool.run_documents(
            partial(self._score, order, scores), self._documents.doclens[order],
            ns_per_token=self._ns_per_token, n_threads=n_threads,
        )  # fmt: skip
        self._check_scores(scores, order)
        return scores

    def follow(
        self,
        numbers: I64,
        estimates: F32,
        *,
        k: int,
        z: float,
        others: F32 | None = None,
        ready: U8 | None = None,
        make_ready: Callable[[I64], None] = lambda numbers: None,
        first_look: int = stop_rule.FIRST_LOOK,
        n_threads: int = 1,
    ) -> Followed:
        """Score candidates in their order until the next one is out of reach of the k best, see stop_rule.py.

        Args:
            numbers: (n,) int64 documents, best estimate first.
            estimates: (n,) float32 of their MaxSim, descending.
            k: hits wanted.
            z: standard deviations of the estimates' errors by which a candidate must be out of reach.
            others: scores of documents that are no candidates, but compete for the k places.
            ready: (n_docs,) uint8, 0 for documents that are not read before `make_ready(numbers)` has set it.
            first_look: candidates that are scored in any case.
        Raises: KernelInputError, and what `make_ready` raises.
        """
        order = np.ascontiguousarray(checked_ordinals(numbers, self._documents.n_docs))
        n, n_docs = len(order), self._documents.n_docs
        if estimates.dtype != np.float32 or estimates.shape != (n,):
            raise KernelInputError(
                f"estimates must be float32 ({n},), not {estimates.dtype} {estimates.shape}"
            )
        estimates = np.ascontiguousarray(estimates)
        ready = np.ones(n_docs, np.uint8) if ready is None else ready
        if ready.dtype != np.uint8 or ready.shape != (n_docs,) or not ready.flags.c_contiguous:
            raise KernelInputError(f"ready must be uint8 ({n_docs},), not {ready.dtype} {ready.shape}")
        seen = stop_rule.Seen(k, others, first_look)
        scores = np.empty(n, np.float32)

        def made_ready(first: int, last: int) -> None:
            some = order[first:last]
            waiting = some[ready[some] == 0]
            if len(waiting):
                make_ready(waiting)
                if not ready[waiting].all():
                    raise KernelInputError(f"document {waiting[0]} is not ready, and was not made so")

        alone = n if n_threads == 1 else min(n, max(self._worth(_ALONE_NS), first_look + 1))
        stop = 0
        while 0 <= stop < alone:
            stop = self._score_until(seen, order, estimates, stop, alone, z, ready, scores)
            if 0 <= stop < alone:
                made_ready(stop, min(stop + _READY_AT_ONCE, alone))
        if 0 <= stop < n:
            stop = self._follow_together(seen, order, estimates, stop, z, made_ready, scores, n_threads)
        n_scored = n if stop >= 0 else -1 - stop
        self._check_scores(scores[:n_scored], order[:n_scored])
        return Followed(scores[:n_scored], stop < 0)

    def _worth(self, ns: float) -> int:
        """How many documents of mean length cost so much."""
        return max(int(ns / (self._ns_per_token * max(self._documents.mean_doclen, 1.0))), 1)

    def _follow_together(
        self, seen: stop_rule.Seen, order: I64, estimates: F32, first: int, z: float,
        made_ready: Callable[[int, int], None], scores: F32, n_threads: int,
    ) -> int:  # fmt: skip
        """Threads score pieces; the scores are looked at in the candidates' order, just as one thread does it.

        Nothing waits for a helper: a piece that holds up the others is scored again, to the same bits.
        """
        n, size = len(order), self._worth(_PIECE_NS)
        guard = threading.Lock()
        stop = taken = first
        scored: set[int] = set()

        def work() -> None:
            nonlocal stop, taken
            while True:
                with guard:
                    if not 0 <= stop < n:
                        return
                    start = stop
                    if taken < min(n, stop + _AHEAD * n_threads * size):
                        start, taken = taken, taken + size
                made_ready(start, min(start + size, n))
                self._score(order, scores, start, min(start + size, n))
                with guard:
                    scored.add(start)
                    while stop in scored:
                        stop = _observe(
                            address(scores), address(estimates), stop, min(stop + size, n), z, *seen.arguments
                        )

        pool.run_beside(work, n_threads)
        return stop

    def _score(self, order: I64, scores: F32, first: int, last: int) -> None:
        rows, packed = self._rows, self._packed
        _memory, scratch = aligned_block(scratch_bytes(rows.n_dims, packed.n_vectors))
        _score_pieces(
            rows.layout, rows.plane0, rows.plane1, rows.bytes0, rows.bytes1, rows.widths, rows.scale,
            rows.offsets, address(order), first, last, rows.n_dims, packed.values, packed.initial, packed.scales,
            packed.n_vectors, scratch, address(scores),
        )  # fmt: skip

    def _score_until(
        self, seen: stop_rule.Seen, order: I64, estimates: F32, first: int, last: int, z: float,
        ready: U8, scores: F32,
    ) -> int:  # fmt: skip
        rows, packed = self._rows, self._packed
        _memory, scratch = aligned_block(scratch_bytes(rows.n_dims, packed.n_vectors))
        return _score_until(
            rows.layout, rows.plane0, rows.plane1, rows.bytes0, rows.bytes1, rows.widths, rows.scale,
            rows.offsets, address(order), address(estimates), first, last, rows.n_dims, packed.values,
            packed.initial, packed.scales, packed.n_vectors, scratch, address(ready), address(scores),
            z, *seen.arguments,
        )  # fmt: skip

    def _check_scores(self, scores: F32, order: I64) -> None:
        bad = ~np.isfinite(scores)
        if bad.any() and (self._documents.doclens[order[bad]] > 0).any():
            raise KernelInputError("documents of those scored have widths that are not finite")
