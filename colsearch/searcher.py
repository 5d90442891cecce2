"""One query over one snapshot: candidates, then scores, then the k best."""

from colsearch.scorer import Ranking, Scorer
from colsearch.store import Snapshot
from colsearch.types import F32, I64, Profile


class Searcher:
    """Plans and runs a query: a scan, which is exact, while that is cheap; else a prefilter first."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def search(
        self,
        snapshot: Snapshot,
        query: F32,
        k: int,
        *,
        allowed: I64 | None,
        exact: bool,
        n_threads: int,
        profile: Profile,
    ) -> Ranking:
        """The k best documents.

        Args:
            query: (n_query_tokens, dim).
            allowed: sorted doc_nos that passed the filter, or None for every document.
            exact: score every allowed document.
        """
        with profile.stage("prepare"):
            quantized = self._scorer.prepare(query)
        with profile.stage("scan"):
            return self._scorer.scan(
                snapshot.parts, quantized, k, allowed=allowed, n_threads=n_threads, profile=profile
            )
