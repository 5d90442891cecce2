"""BM25 against the formula worked out by hand."""

import math

from benchmarks.lexical import bm25_best


def test_rare_words_and_short_texts_win():
    documents = ["the cat sat", "the dog sat on the mat", "the dog", "birds", "fish swim", "a b c"]
    queries = ["dogs", "the cats' mat?", "", "xyzzy", '"cat" OR -dog*']
    found = bm25_best(documents, queries, 3)
    # For one word the idf is the same, so the shorter text wins; "dogs" is stemmed to "dog".
    assert found[0] == [2, 1]

    def score(n_holding: int, length: int) -> float:
        idf = math.log((6 - n_holding + 0.5) / (n_holding + 0.5))
        return idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 * length / (17 / 6)))

    # "the" is in half of the texts, so its idf is almost zero.
    assert found[1] == [row for _, row in sorted([(-score(1, 3), 0), (-score(1, 6), 1), (0.0, 2)])]
    assert found[2] == [] == found[3]
    assert found[4][0] == 0
