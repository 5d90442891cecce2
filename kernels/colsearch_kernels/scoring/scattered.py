"""One query against documents of several segments, a few at a time, as following a list of candidates needs it.

Everything that is the same for all calls is prepared once: addresses of the documents, and the query's lanes.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels.arguments import F32, I64, U8, Candidates, DocumentTable, StopRule
from colsearch_kernels.checks import checked_ordinals
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import Codes, QuantizedQuery, checked_n_planes
from colsearch_kernels.layout.packing import address, pack_queries, scratch_block
from colsearch_kernels.layout.token_layout import layout_of_codes
from colsearch_kernels.runtime import pool
from colsearch_kernels.runtime.cost import ns_per_token
from colsearch_kernels.runtime.kernel import kernel
from colsearch_kernels.runtime.tiers import LANES
from colsearch_kernels.scoring.stop_rule import FIRST_CHECK, start_rule

if TYPE_CHECKING:
    from colsearch_kernels.compiled.following import observe, score_until
    from colsearch_kernels.compiled.integer import score_scattered
else:
    observe = kernel("following.observe", globals())
    score_until = kernel("following.score_until", globals())
    score_scattered = kernel("integer.score_scattered", globals())

# Helper threads join only once a query has cost _ALONE_NS, which most queries never do. Each thread then takes pieces
# of _PIECE_NS, and no piece is more than _AHEAD pieces per thread beyond the first that is not scored. A helper that
# has lost its core would keep a large piece for milliseconds.
_ALONE_NS, _PIECE_NS, _AHEAD = 1e6, 2e5, 4
# Candidates that a single thread asks to be verified at once.
_VERIFIED_AT_ONCE = 64
# Candidates in the first step of the search for one that is not verified.
_CHECKED_AT_FIRST = 1024


@dataclass(frozen=True, slots=True)
class Followed:
    """Attributes:
    scores: (n,) float32 MaxSim of the first n candidates.
    complete: False if the candidates came to an end before one was out of reach.
    """

    scores: F32
    complete: bool


class Scattered:
    """The addresses of the documents of several segments, numbered one segment after another.

    It takes 8 bytes per document, plane and width table, and 8 for the length: 24 or 40 bytes.

    Attributes:
        n_docs: of all segments.
        doclens: (n_docs,) int64.
        mean_doclen: of all segments.
        ns_per_vector: cost of a document of mean length for each vector of LANES query tokens.
    Raises: KernelInputError: if the segments are not of one codec.
    """

    def __init__(self, segments: Sequence[Codes]) -> None:
        if not segments:
            raise KernelInputError("there are no segments")
        first = segments[0]
        formats = {(codes.plane_bits, codes.padded_dim) for codes in segments}
        if len(formats) > 1:
            raise KernelInputError("the segments have different planes or dims")
        # Keeps the memory of the addresses alive.
        self._segments = tuple(segments)
        self.plane_bits, self.padded_dim = first.plane_bits, first.padded_dim
        self.doclens: I64 = np.concatenate([codes.doclens for codes in segments])
        self.n_docs = len(self.doclens)
        self.mean_doclen = float(self.doclens.mean()) if self.n_docs else 0.0
        n_planes = len(self.plane_bits)
        planes = [self._addresses([codes.planes[i] for codes in segments]) for i in range(n_planes)]
        widths = [self._addresses([codes.widths[i] for codes in segments]) for i in range(n_planes)]
        self.ns_per_vector = ns_per_token(LANES, self.padded_dim) * max(self.mean_doclen, 1.0)
        tables = [
            DocumentTable(layout_of_codes(first, i + 1).format, planes[0], planes[i], widths[i], self.doclens)
            for i in range(n_planes)
        ]
        self._tables: dict[int | None, DocumentTable] = {None: tables[-1], **dict(enumerate(tables, start=1))}

    def _addresses(self, arrays: Sequence[NDArray[Any]]) -> I64:
        """(n_docs,) int64 addresses of the documents' first rows in one array per segment."""
        return np.concatenate(
            [
                address(array) + codes.offsets[:-1] * (array.nbytes // max(len(array), 1))
                for array, codes in zip(arrays, self._segments)
            ]
        )

    def table(self, n_planes: int | None) -> DocumentTable:
        """The documents' addresses in the first `n_planes` planes; None is all planes.

        Raises: KernelInputError: if there are not so many planes.
        """
        if n_planes not in self._tables:
            checked_n_planes(n_planes, self.plane_bits)
        return self._tables[n_planes]


class ScatteredScorer:
    """MaxSim of one query with documents of a `Scattered`, the same numbers as `score_codes` gives.

    Args:
        n_planes: how many planes to read; None for all of them.
    Raises: KernelInputError.
    """

    def __init__(self, query: QuantizedQuery, documents: Scattered, *, n_planes: int | None = None) -> None:
        n_dims = query.values.shape[1]
        if n_dims != documents.padded_dim:
            raise KernelInputError(
                f"the query has padded dim {n_dims}, the documents have {documents.padded_dim}"
            )
        self.documents = documents
        self.table = documents.table(n_planes)
        self.lanes = pack_queries([query], self.table.format)

    def score(self, rows: I64, *, n_threads: int = 1) -> F32:
        """(n,) float32 MaxSim of the documents of these numbers; -inf for one without tokens."""
        rows = np.ascontiguousarray(checked_ordinals(rows, self.documents.n_docs))
        scores = np.empty(len(rows), np.float32)
        pool.run_documents(
            partial(self.score_rows, rows, scores), self.documents.doclens[rows],
            ns_per_token=ns_per_token(LANES * self.lanes.n_vectors, self.documents.padded_dim), n_threads=n_threads,
        )  # fmt: skip
        self.check_scores(scores, rows)
        return scores

    def follow(
        self,
        rows: I64,
        estimates: F32,
        *,
        k: int,
        stop_deviations: float,
        competing_scores: F32 | None = None,
        first_check: int = FIRST_CHECK,
        n_threads: int = 1,
    ) -> Followed:
        """Score candidates in their order until the next one is out of reach of the k best, see stop_rule.py.

        Args:
            rows: (n,) int64 numbers of documents, best estimate first.
            estimates: (n,) float32 of their MaxSim, descending.
            k: hits wanted.
            stop_deviations: standard deviations of the estimates' errors by which a candidate must be out of reach.
            competing_scores: scores of documents that are no candidates, but compete for the k places.
            first_check: candidates that are scored in any case.
            n_threads: threads to use.
        Raises: KernelInputError.
        """
        following = self.start_following(
            rows, estimates, k=k, stop_deviations=stop_deviations, competing_scores=competing_scores,
            verified=np.ones(self.documents.n_docs, np.uint8), first_check=first_check, n_threads=n_threads,
        )  # fmt: skip
        following.advance()
        return following.result

    def start_following(
        self,
        rows: I64,
        estimates: F32,
        *,
        k: int,
        stop_deviations: float,
        verified: U8,
        competing_scores: F32 | None = None,
        first_check: int = FIRST_CHECK,
        n_threads: int = 1,
    ) -> "Following":
        """`follow` for documents that the caller verifies before they are read; see `Following.advance`.

        Args:
            verified: (n_docs,) uint8, 0 for documents that must not be read yet.
        Raises: KernelInputError.
        """
        documents = self.documents
        rows = np.ascontiguousarray(checked_ordinals(rows, documents.n_docs))
        n, n_docs = len(rows), documents.n_docs
        if estimates.dtype != np.float32 or estimates.shape != (n,):
            raise KernelInputError(
                f"estimates must be float32 ({n},), not {estimates.dtype} {estimates.shape}"
            )
        if verified.dtype != np.uint8 or verified.shape != (n_docs,) or not verified.flags.c_contiguous:
            raise KernelInputError(
                f"verified must be uint8 ({n_docs},), not {verified.dtype} {verified.shape}"
            )
        rule = start_rule(
            k, deviations=stop_deviations, competing_scores=competing_scores, first_check=first_check
        )
        scores = np.empty(n, np.float32)
        candidates = Candidates(rows, np.ascontiguousarray(estimates), verified, scores)
        return Following(self, candidates, rule, n_threads)

    def score_rows(self, rows: I64, scores: F32, first: int, last: int) -> None:
        """Write scores[i] of documents rows[first..last - 1]; nothing is checked."""
        scratch = scratch_block(self.table.format.n_dims, self.lanes.n_vectors)
        score_scattered(self.table, rows, first, last, self.lanes, scratch, scores)

    def check_scores(self, scores: F32, rows: I64) -> None:
        """Raise KernelInputError if a document with tokens has a score that is not finite."""
        bad = ~np.isfinite(scores)
        if bad.any() and (self.documents.doclens[rows[bad]] > 0).any():
            raise KernelInputError("documents of those scored have widths that are not finite")

    def n_docs_worth(self, ns: float) -> int:
        """The number of documents of mean length that take so many nanoseconds to score."""
        return max(int(ns / (self.lanes.n_vectors * self.documents.ns_per_vector)), 1)


class Following:
    """Candidates that are being followed, see `ScatteredScorer.start_following`.

    Attributes:
        result: the scores, once `advance` has returned None.
    """

    result: Followed

    def __init__(
        self, scorer: ScatteredScorer, candidates: Candidates, rule: StopRule, n_threads: int
    ) -> None:
        self._scorer, self._candidates, self._rule = scorer, candidates, rule
        self._n, self._n_threads = len(candidates.rows), n_threads
        # Threads that share a scorer each follow candidates of their own.
        self._scratch = scratch_block(scorer.table.format.n_dims, scorer.lanes.n_vectors)
        # This many candidates are scored by the caller's thread before helpers join it.
        self._n_alone = self._n
        if n_threads > 1:
            self._n_alone = min(self._n, max(scorer.n_docs_worth(_ALONE_NS), rule.first_check + 1))
        # The number of the first candidate that is not scored yet; -1 - i once candidate i is out of reach.
        self._next = 0
        self._asked_for: I64 | None = None

    def advance(self) -> I64 | None:
        """Score the next candidates, as long as they are verified.

        Returns: (n,) int64 rows that the caller must verify and mark in `verified` before the next call; None once
            scoring has ended and `result` is set.
        Raises: KernelInputError: if the rows of the last call are not marked, or for widths that are not finite.
        """
        self._check_are_verified()
        if 0 <= self._next < self._n_alone:
            self._next = score_until(
                self._scorer.table,
                self._candidates,
                self._next,
                self._n_alone,
                self._scorer.lanes,
                self._scratch,
                self._rule,
            )
            if 0 <= self._next < self._n_alone:
                return self._ask_for(min(self._next + _VERIFIED_AT_ONCE, self._n_alone))
        while 0 <= self._next < self._n:
            end = self._end_of_verified()
            if end == self._next:
                piece = self._scorer.n_docs_worth(_PIECE_NS)
                return self._ask_for(min(self._next + _AHEAD * self._n_threads * piece, self._n))
            self._next = self._score_together(self._next, end)
        n_scored = self._n if self._next >= 0 else -1 - self._next
        scores = self._candidates.scores[:n_scored]
        self._scorer.check_scores(scores, self._candidates.rows[:n_scored])
        self.result = Followed(scores, self._next < 0)
        return None

    def _ask_for(self, end: int) -> I64:
        """The rows, up to candidate `end`, that are not verified."""
        rows = self._candidates.rows[self._next : end]
        self._asked_for = rows[self._candidates.readable[rows] == 0]
        return self._asked_for

    def _check_are_verified(self) -> None:
        if self._asked_for is None:
            return
        missing = self._asked_for[self._candidates.readable[self._asked_for] == 0]
        if len(missing):
            raise KernelInputError(f"document {missing[0]} was to be verified, and is not marked as verified")
        self._asked_for = None

    def _end_of_verified(self) -> int:
        """The first candidate from `_next` on that is not verified."""
        start, n_checked = self._next, _CHECKED_AT_FIRST
        while start < self._n:
            waiting = self._candidates.readable[self._candidates.rows[start : start + n_checked]] == 0
            if waiting.any():
                return start + int(waiting.argmax())
            # Growing steps cost little beside the scoring of the candidates found to be verified.
            start, n_checked = start + n_checked, 2 * n_checked
        return self._n

    def _score_together(self, first: int, end: int) -> int:
        """Score candidates first..end - 1 with several threads; returns what `_next` becomes.

        Threads take pieces. The stop rule sees the scores in the candidates' order, just as with one thread. Nothing
        waits for a helper: a piece that holds up the others is scored again, to the same bits.
        """
        candidates, size = self._candidates, self._scorer.n_docs_worth(_PIECE_NS)
        guard = threading.Lock()
        observed = taken = first
        scored: set[int] = set()

        def work() -> None:
            nonlocal observed, taken
            while True:
                with guard:
                    if not 0 <= observed < end:
                        return
                    start = observed
                    if taken < min(end, observed + _AHEAD * self._n_threads * size):
                        start, taken = taken, taken + size
                self._scorer.score_rows(candidates.rows, candidates.scores, start, min(start + size, end))
                with guard:
                    scored.add(start)
                    while observed in scored:
                        observed = observe(candidates, observed, min(observed + size, end), self._rule)

        pool.run_beside(work, self._n_threads)
        return observed
