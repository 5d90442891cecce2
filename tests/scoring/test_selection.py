"""Which documents of each segment may be hits: live ones, those that pass the filter, those with tokens."""

from collections.abc import Iterator

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.scoring.selection import joined_mask, select
from colsearch.store.snapshot import Snapshot

DIM = 8
# Tokens of each document, by segment: without tokenless documents, with some, and with nothing else.
DOCLENS = [[2] * 12, [3, 0, 1, 0, 2, 4, 1, 1], [0, 0, 0]]
FIRST_DOC_NO = [0, 12, 20]
DELETED = [5, 13, 14]
ALLOWED = [1, 5, 12, 13, 14, 15, 16, 21]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    with ColIndex.create(tmp_path_factory.mktemp("selection") / "index", dim=DIM) as index:
        for doclens, first in zip(DOCLENS, FIRST_DOC_NO):
            documents = [np.ones((n_tokens, DIM), np.float32) for n_tokens in doclens]
            index.add_vectors(documents, ids=range(first, first + len(documents)))
        index.delete(DELETED)
        snapshot = index._store.snapshot()
        assert [live_segment.segment.n_docs for live_segment in snapshot.segments] == [12, 8, 3]
        yield snapshot


def chosen_doc_nos(allowed: list[int] | None) -> list[list[int]]:
    """By the definition: the doc_nos of each segment that are live and allowed."""
    return [
        [
            doc_no
            for doc_no in range(first, first + len(doclens))
            if doc_no not in DELETED and (allowed is None or doc_no in allowed)
        ]
        for doclens, first in zip(DOCLENS, FIRST_DOC_NO)
    ]


def chosen_mask(allowed: list[int] | None) -> list[bool]:
    """By the definition: whether each document may be a hit, which takes a token too."""
    chosen = {doc_no for segment in chosen_doc_nos(allowed) for doc_no in segment}
    doclens = [n_tokens for segment in DOCLENS for n_tokens in segment]
    return [doc_no in chosen and n_tokens > 0 for doc_no, n_tokens in enumerate(doclens)]


@pytest.mark.parametrize("allowed", [None, ALLOWED, [], [5, 13]], ids=["all", "some", "none", "deleted"])
def test_live_and_allowed_documents_are_selected_and_counted(
    snapshot: Snapshot, allowed: list[int] | None
) -> None:
    selected = select(snapshot.segments, None if allowed is None else np.array(allowed, np.int64))
    for part, first, doclens, doc_nos in zip(selected, FIRST_DOC_NO, DOCLENS, chosen_doc_nos(allowed)):
        if part.ordinals is None:
            assert len(doc_nos) == len(doclens)
        else:
            assert (part.ordinals + first).tolist() == doc_nos
        assert part.n_docs == len(doc_nos)
        assert part.n_tokens == sum(doclens[doc_no - first] for doc_no in doc_nos)
        assert part.filtered == (allowed is not None)
    mask = joined_mask(selected)
    assert mask is not None and mask.tolist() == chosen_mask(allowed)


def test_a_segment_whose_documents_may_all_be_hits_has_no_mask(snapshot: Snapshot) -> None:
    with_deleted, *_ = select(snapshot.segments)
    assert with_deleted.mask() is not None
    everything = select(snapshot.segments[:1], np.arange(12))
    assert everything[0].mask() is not None, "a filter's choice is a mask even if it chose everything"
    with_tokenless = select(snapshot.segments[2:])
    assert with_tokenless[0].ordinals is None and not joined_mask(with_tokenless).any()


def test_segments_without_deletions_and_tokenless_documents_need_no_mask(tmp_path) -> None:
    with ColIndex.create(tmp_path / "index", dim=DIM) as index:
        index.add_vectors([np.ones((2, DIM), np.float32)] * 3)
        selected = select(index._store.snapshot().segments)
    assert selected[0].mask() is None and joined_mask(selected) is None and joined_mask([]) is None
