"""One snapshot, prepared for searching: what does not change from query to query is looked up once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from colsearch.prefilter.model import LearnedPrefilter
from colsearch.prefilter.state import usable_model
from colsearch.prefilter.stored import PrefilterCache
from colsearch.query.candidates import CandidateIndex, prefilter_files
from colsearch.scoring.cost import cheap_query_tokens
from colsearch.scoring.scorer import Scorer
from colsearch.scoring.selection import SelectedSegment, joined_mask, select
from colsearch.store.snapshot import Snapshot


class SearchView:
    """A snapshot and the plan for queries without a filter.

    Args:
        previous: the view of an older snapshot; its candidate index is taken over if no segment changed.

    Attributes:
        selected: all live documents, by segment.
        covered, tail: the segments that the prefilter covers, and the others.
        can_be_hits: (n_docs of the covered segments,) bool; None for all.
        prefilter: None if no segment is covered.
        stop_deviations: from a recall and k to where the stop rule ends a query, None for a scan.
        candidates: the candidate index of the covered segments, once it is made.
        cheap_query_tokens: scanning everything is cheap for queries of at most this many tokens.
    """

    def __init__(
        self, snapshot: Snapshot, dim: int, prefilters: PrefilterCache, previous: SearchView | None
    ) -> None:
        self.snapshot = snapshot
        self.selected = select(snapshot.segments)
        self.covered, self.tail = split_by_prefilter(self.selected)
        self.can_be_hits = joined_mask(self.covered)
        self.cheap_query_tokens = cheap_query_tokens(sum(part.n_tokens for part in self.selected), dim)
        self.stop_deviations: Callable[[float, int], float | None] = lambda recall, k: None
        self.prefilter: LearnedPrefilter | None = None
        model = usable_model(snapshot)
        if model is not None and self.covered:
            self.prefilter, state = prefilters.load(model)
            # Most calls ask for the same recall and k.
            self.stop_deviations = lru_cache(maxsize=64)(state.calibration.stop_deviations)
        self.candidates: CandidateIndex | None = None
        known = None if previous is None else previous.candidates
        if known is not None and known.files == prefilter_files(self.covered):
            self.candidates = known

    def make_candidates(self, scorer: Scorer) -> CandidateIndex:
        """Make the candidate index of the covered segments, which takes a while: at the first query that needs it."""
        assert self.prefilter is not None, "nothing is covered"
        self.candidates = CandidateIndex(self.prefilter, self.covered, scorer)
        return self.candidates


def split_by_prefilter(
    selected: Iterable[SelectedSegment],
) -> tuple[list[SelectedSegment], list[SelectedSegment]]:
    """The segments that the prefilter covers, and the tail."""
    covered: list[SelectedSegment] = []
    tail: list[SelectedSegment] = []
    for part in selected:
        (tail if part.prefilter is None else covered).append(part)
    return covered, tail
