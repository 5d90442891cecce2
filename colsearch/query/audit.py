"""Measured recall against exact MaxSim, so that nobody has to believe a setting."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colsearch.query.engine import QueryResult
from colsearch.types import F32

_N_RESAMPLES = 2000
_SEED = 20260


@dataclass(frozen=True, slots=True)
class Audit:
    """What searching finds of what exact searching finds.

    Attributes:
        n_queries, k: how many queries, and hits of each.
        promised: the recall that was asked for.
        recall: mean recall@k; a document whose score equals the k-th best's is as good as that one.
        interval: 95 % bootstrap interval of it.
        ndcg: mean nDCG@k of the found hits, the exact scores being the gains: what misses cost in score.
        n_candidates: mean number of documents scored per query, and their share of all.
        share_scored: of all documents.
        made_up: whether the queries were made of the index's own documents, for want of real ones.
        advice: what to change.
    """

    n_queries: int
    k: int
    promised: float
    recall: float
    interval: tuple[float, float]
    ndcg: float
    n_candidates: float
    share_scored: float
    made_up: bool
    advice: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        low, high = self.interval
        of = " made of the index's own documents" if self.made_up else ""
        return (
            f"recall@{self.k} {self.recall:.4f} ({low:.4f}-{high:.4f}) of exact search, promised {self.promised}; "
            f"nDCG@{self.k} {self.ndcg:.4f}\n{self.n_queries:,} queries{of}; {self.n_candidates:,.0f} documents "
            f"scored per query, {self.share_scored:.1%} of all\n{self.advice}"
        )


def audit(
    found: Sequence[QueryResult],
    exact: Sequence[QueryResult],
    *,
    k: int,
    promised: float,
    n_docs: int,
    made_up: bool,
) -> Audit:
    """Compare the searches of the same queries."""
    recalls = np.array([one.ranking.recall(best.ranking) for one, best in zip(found, exact)])
    low, high = bootstrap_interval(recalls)
    n_candidates = float(np.mean([one.profile.n_candidates for one in found]))
    share = n_candidates / max(n_docs, 1)
    return Audit(
        n_queries=len(found),
        k=k,
        promised=promised,
        recall=float(recalls.mean()),
        interval=(low, high),
        ndcg=float(np.mean([_ndcg(f.ranking.scores, e.ranking.scores) for f, e in zip(found, exact)])),
        n_candidates=n_candidates,
        share_scored=share,
        made_up=made_up,
        advice=_advice(promised, high, share, len(found)),
    )


def bootstrap_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean of (n,) values."""
    means = np.random.default_rng(_SEED).choice(values, (_N_RESAMPLES, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _ndcg(found: F32, best: F32) -> float:
    """Gains are scores above the lowest of the exact ranking's, so that a miss costs what it is worth."""
    if not len(best) or best[0] == best[-1]:
        return 1.0
    discounts = 1 / np.log2(np.arange(len(best)) + 2)
    gains = np.maximum(found - best[-1], 0)
    return float((gains * discounts[: len(found)]).sum() / ((best - best[-1]) * discounts).sum())


def _advice(promised: float, high: float, share: float, n_queries: int) -> str:
    if high < promised:
        return (
            "The promise is not kept on these queries: call optimize(), and if that does not help, search with a "
            "higher recall=, or exact=True."
        )
    if share == 1:
        return "Every document is scored, so the results are exact; that is cheap at this size."
    if n_queries < 200:
        return "The promise is kept; with more queries the interval gets narrower."
    return "The promise is kept; a lower recall= would be faster, a higher one finds more."
