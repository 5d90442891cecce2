"""Fusion of rankings from different retrievers by rank."""

from collections.abc import Sequence

import numpy as np

from colsearch.scoring.ranking import Ranking

# The constant of Cormack, Clarke & Büttcher 2009.
_RRF_CONSTANT = 60


def reciprocal_rank_fusion(rankings: Sequence[Ranking], k: int) -> Ranking:
    """The k best by the sum of 1 / (60 + rank) over all rankings that hold a document.

    Source: Cormack, Clarke & Büttcher 2009.
    """
    doc_nos, row_of = np.unique(
        np.concatenate([ranking.doc_nos for ranking in rankings]), return_inverse=True
    )
    shares = np.concatenate(
        [1 / (_RRF_CONSTANT + 1 + np.arange(len(ranking.doc_nos))) for ranking in rankings]
    )
    scores = np.bincount(row_of, shares, minlength=len(doc_nos)).astype(np.float32)
    return Ranking.best(doc_nos, scores, k)
