"""The promise of `recall=` on real texts and a thousand real questions that the index never saw."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.corpora.beir import read_collection
from colsearch import ColIndex
from colsearch.scoring import cost
from colsearch.types import F32

DATA = Path(__file__).parents[2] / "examples" / "data" / "squad-dev"
N_DOCS, N_QUERIES = 1_100, 1_000


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ColIndex, list[F32]]]:
    collection = read_collection(DATA, split="test1k")
    with pytest.MonkeyPatch.context() as patch:
        # So few documents would be scanned.
        patch.setattr(cost, "CHEAP_SCAN_NS", 1e5)
        with ColIndex.create(tmp_path_factory.mktemp("contract") / "index") as index:
            # Encoding takes nearly all of the time, so the shorter half of the texts is taken.
            index.add(sorted(collection.documents.values(), key=len)[:N_DOCS])
            tokens = index.encoder.encode_query(list(islice(collection.queries.values(), N_QUERIES)))
            ends = tokens.doclens.cumsum()
            yield index, [tokens.vectors[end - n : end] for end, n in zip(ends, tokens.doclens)]


@pytest.mark.parametrize("k", [10, 100])
@pytest.mark.parametrize("recall", [0.9, 0.95, 0.99])
def test_recall_is_within_a_hundredth_of_the_promise(
    asked: tuple[ColIndex, list[F32]], recall: float, k: int
) -> None:
    index, queries = asked
    audit = index.audit(queries, k, recall=recall)
    assert audit.n_queries == N_QUERIES
    assert audit.recall >= recall - 0.01
    # Kept by choosing, not by scoring everything.
    assert audit.share_scored < 0.6
