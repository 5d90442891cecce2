"""A ranking: documents and scores, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import colsearch_kernels as kernels
from colsearch.scoring.recall import recall_of_scores
from colsearch.types import F32, I64


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents best first; equal scores in insertion order.

    Attributes:
        doc_nos: (n,) int64.
        scores: (n,) float32, descending.
    """

    doc_nos: I64
    scores: F32

    @classmethod
    def empty(cls) -> Ranking:
        return cls(np.empty(0, np.int64), np.empty(0, np.float32))

    @classmethod
    def best(cls, doc_nos: I64, scores: F32, k: int) -> Ranking:
        """The k best of documents in any order; a document without tokens (-inf) is never among them."""
        order = kernels.best_k(scores, doc_nos, k)
        return cls(doc_nos[order], scores[order])

    @classmethod
    def joined(cls, rankings: Sequence[Ranking], k: int) -> Ranking:
        """The k best of several rankings of different documents."""
        rankings = [ranking for ranking in rankings if len(ranking.doc_nos)]
        if not rankings:
            return cls.empty()
        if len(rankings) == 1:
            [only] = rankings
            return cls(only.doc_nos[:k], only.scores[:k])
        return cls.best(
            np.concatenate([ranking.doc_nos for ranking in rankings]),
            np.concatenate([ranking.scores for ranking in rankings]),
            k,
        )

    def recall(self, exact: Ranking) -> float:
        """The share of an exact ranking that is here; documents of equal score are as good as each other."""
        return recall_of_scores(self.scores, exact.scores)
