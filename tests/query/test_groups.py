"""Groups count once, by their best document, however many documents must be fetched to find enough groups."""

import pytest

from colsearch.errors import ConfigError
from colsearch.query.groups import best_of_groups
from colsearch.types import Hit, Hits, Profile


class Ranked:
    """A search over hits that are ranked already; it notes how many were asked for."""

    def __init__(self, *hits: Hit) -> None:
        self.hits = hits
        self.asked: list[int] = []

    def __call__(self, n: int) -> Hits:
        self.asked.append(n)
        best = Hits(self.hits[:n])
        best.profile = Profile(n_candidates=n)
        return best


def of_book(id: str, score: float, book: object) -> Hit:
    return Hit(id, score, text=f"text of {id}", metadata={"book": book})


def test_a_group_is_its_best_document_under_the_groups_name() -> None:
    search = Ranked(of_book("a1", 5, "a"), of_book("b1", 4, 7), of_book("a2", 3, "a"), Hit("alone", 2))
    hits = best_of_groups(search, 5, "book")
    assert [(hit.id, hit.score, hit.text) for hit in hits] == [
        ("a", 5, "text of a1"),
        (7, 4, "text of b1"),
        ("alone", 2, None),
    ]
    assert hits[0].metadata == {"book": "a"}


def test_of_equal_scores_the_first_document_and_the_first_group_win() -> None:
    search = Ranked(
        of_book("b2", 1, "b"), of_book("a1", 1, "a"), of_book("b1", 1, "b"), of_book("c1", 1, "c")
    )
    assert [(hit.id, hit.text) for hit in best_of_groups(search, 2, "book")] == [
        ("b", "text of b2"),
        ("a", "text of a1"),
    ]


def test_more_documents_are_fetched_until_there_are_enough_groups() -> None:
    crowd = [of_book(f"a{n}", 100 - n, "a") for n in range(20)]
    search = Ranked(*crowd, of_book("b1", 9, "b"), of_book("c1", 8, "c"))
    hits = best_of_groups(search, 2, "book")
    assert [hit.id for hit in hits] == ["a", "b"] and search.asked == [8, 32]
    assert hits.profile is not None and hits.profile.n_candidates == 32


def test_the_search_ends_when_it_has_no_more_documents() -> None:
    search = Ranked(*(of_book(f"a{n}", 9 - n, "a") for n in range(5)))
    assert [hit.id for hit in best_of_groups(search, 2, "book")] == ["a"] and search.asked == [8]


@pytest.mark.parametrize("name", [True, 1.5, None, ["a"]])
def test_a_value_that_cannot_be_an_id_is_refused(name: object) -> None:
    with pytest.raises(ConfigError, match="document 'a1' has book="):
        best_of_groups(Ranked(of_book("a1", 1, name)), 1, "book")
