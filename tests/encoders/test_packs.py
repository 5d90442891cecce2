"""Packs of texts have a bounded number of tokens."""

from colsearch.encoders.embedded import packs


def test_packs_hold_every_text_with_tokens_once_within_the_budget():
    lengths = [5, 0, 90, 5, 40, 100, 5, 0, 39]
    assert packs(lengths, token_budget=100) == [[5], [2], [4, 8, 0, 3, 6]]


def test_equal_lengths_are_neighbours():
    assert packs([3, 9, 3, 9, 3], token_budget=100) == [[1, 3, 0, 2, 4]]


def test_a_text_beyond_the_budget_is_a_pack_of_its_own():
    assert packs([7, 50, 3], token_budget=10) == [[1], [0, 2]]


def test_without_tokens_there_are_no_packs():
    assert packs([0, 0], token_budget=10) == []
    assert packs([], token_budget=10) == []
