"""Reciprocal-rank fusion against sums worked out by hand."""

import numpy as np

from colsearch.query.fusion import reciprocal_rank_fusion
from colsearch.scoring.ranking import Ranking


def ranking(*doc_nos: int) -> Ranking:
    """These documents best first; fusion must not read their scores, so the scores say nothing."""
    return Ranking(np.array(doc_nos, np.int64), np.zeros(len(doc_nos), np.float32))


def test_a_document_scores_the_sum_of_its_reciprocal_ranks() -> None:
    fused = reciprocal_rank_fusion([ranking(7, 3, 9), ranking(3, 5)], k=10)
    assert fused.doc_nos.tolist() == [3, 7, 5, 9]
    np.testing.assert_allclose(fused.scores, [1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63], rtol=1e-6)


def test_only_the_k_best_are_kept_and_equal_sums_come_in_insertion_order() -> None:
    assert reciprocal_rank_fusion([ranking(8, 2), ranking(1, 6)], k=3).doc_nos.tolist() == [1, 8, 2]


def test_an_empty_ranking_changes_nothing() -> None:
    fused = reciprocal_rank_fusion([ranking(), ranking(4, 0)], k=5)
    assert fused.doc_nos.tolist() == [4, 0]
    np.testing.assert_allclose(fused.scores, [1 / 61, 1 / 62], rtol=1e-6)
    assert len(reciprocal_rank_fusion([ranking(), ranking()], k=5).doc_nos) == 0
