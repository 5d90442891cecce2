"""BM25 beside MaxSim: as a second source of candidates, or as a second opinion on the order."""

import numpy as np

from colsearch.scoring.scorer import Ranking

# Of reciprocal-rank fusion: Cormack, Clarke & Büttcher 2009.
_RRF_CONSTANT = 60
# Documents that BM25 puts forward, at least.
N_LEXICAL = 100


def fused(rankings: list[Ranking], k: int) -> Ranking:
    """The k best by reciprocal-rank fusion; a score is the sum of 1 / (60 + rank)."""
    doc_nos, where = np.unique(np.concatenate([one.doc_nos for one in rankings]), return_inverse=True)
    parts = np.concatenate([1 / (_RRF_CONSTANT + 1 + np.arange(len(one.doc_nos))) for one in rankings])
    scores = np.bincount(where, parts, minlength=len(doc_nos)).astype(np.float32)
    return Ranking.best(doc_nos, scores, k)
