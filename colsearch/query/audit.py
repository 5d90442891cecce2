"""Audit: measured recall against exact MaxSim, so that nobody has to trust a setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colsearch.config import DEFAULT_SEED
from colsearch.errors import ConfigError
from colsearch.prefilter.settings import PrefilterSettings
from colsearch.prefilter.synthetic_queries import synthetic_queries
from colsearch.query.engine import QueryEngine, QueryResult
from colsearch.query.request import Query, checked_k, checked_recall, query_tokens
from colsearch.types import F32

# Queries made of the index's own documents for an audit that is given none.
N_SYNTHETIC = 300
# Resamples of a bootstrap, and audits of fewer queries than this advise to use more.
_N_RESAMPLES, _MANY_QUERIES = 2000, 200


@dataclass(frozen=True, slots=True)
class Audit:
    """How much of exact search a search finds.

    Attributes:
        n_queries: queries that were compared.
        k: hits per query.
        promised: the recall that was asked for.
        recall: mean recall@k; a document whose score equals the k-th best counts as found.
        interval: 95 % bootstrap interval of the mean.
        ndcg: mean nDCG@k with exact scores as gains, which shows what misses cost in score.
        n_candidates: mean number of documents scored per query.
        share_scored: the same as a share of all documents.
        made_up: whether the queries were made of the index's own documents.
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
    engine: QueryEngine,
    queries: Sequence[Query] | None,
    k: int,
    recall: float,
    settings: PrefilterSettings,
) -> Audit:
    """Compare a search at this recall with exact search.

    Args:
        queries: texts or token vectors; None makes `N_SYNTHETIC` queries of the index's documents.
    Raises: ConfigError: if there is nothing to measure on.
    """
    snapshot = engine.reader.snapshot()
    k, recall = checked_k(k), checked_recall(recall)
    if queries is None:
        vectors = synthetic_queries(
            snapshot,
            engine.scorer,
            engine.encoder,
            settings,
            N_SYNTHETIC,
            seed=settings.seed + 1,
            n_threads=engine.n_threads,
        )
    else:
        dim = engine.scorer.codec.dim
        vectors = [tokens.vectors for tokens in query_tokens(queries, engine.encoder, dim)]
    if not vectors:
        raise ConfigError("an audit needs queries, and documents to search")
    found, exact = (engine.rank(snapshot, vectors, k, recall=share) for share in (recall, 1.0))
    return _compared(found, exact, k, recall, n_docs=snapshot.n_docs, made_up=queries is None)


def _compared(
    found: Sequence[QueryResult],
    exact: Sequence[QueryResult],
    k: int,
    promised: float,
    *,
    n_docs: int,
    made_up: bool,
) -> Audit:
    recalls = np.array([result.ranking.recall(best.ranking) for result, best in zip(found, exact)])
    low, high = bootstrap_interval(recalls)
    n_candidates = float(np.mean([result.profile.n_candidates for result in found]))
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
    means = np.random.default_rng(DEFAULT_SEED).choice(values, (_N_RESAMPLES, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _ndcg(found: F32, best: F32) -> float:
    """nDCG whose gains are scores above the exact ranking's lowest, so that a miss costs what it is worth."""
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
    if n_queries < _MANY_QUERIES:
        return "The promise is kept; with more queries the interval gets narrower."
    return "The promise is kept; a lower recall= would be faster, a higher one finds more."
