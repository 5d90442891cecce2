"""`delete(..., purge=True)`: not a byte of the document is left in any file of the index."""

import os
import signal
import sqlite3
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.errors import UnknownIdError
from colsearch.store import staging
from tests.support.children import run_in_child

DIM = 16
SECRET = "purgeme"
WORDS = ["zanzibar", "quixotic", "walruses", "Überraschung"]


def text(n: int) -> str:
    return f"Document number {n} tells of {WORDS[n % 4]} and of code{n}word"


def metadata(n: int) -> dict:
    return {"owner": f"owner{n}name", "nested": {"tags": [f"tag{n}value", n]}}


@pytest.fixture
def index(tmp_path: Path) -> ColIndex:
    """Four segments, each with a prefilter file."""
    rng = np.random.default_rng(3)
    with ColIndex.create(tmp_path / "index", dim=DIM) as index:
        with index._store.reader.database.locked() as connection:
            # Some builds of SQLite overwrite deleted bytes; the promise must also hold with the others.
            connection.execute("PRAGMA secure_delete = OFF")
        for start in range(0, 40, 10):
            numbers = range(start, start + 10)
            index.add_vectors(
                rng.standard_normal((10, 5, DIM)),
                ids=[f"id{n}key" for n in numbers],
                texts=[text(n) for n in numbers],
                metadata=[metadata(n) for n in numbers],
            )
        # The model was fitted on a document that lives on.
        arrays = {"weights": np.ones(4, np.float32), "sample": np.array([0])}
        model = index._store.put_model(arrays, {})
        for live_segment in index._store.snapshot().segments:
            vectors = live_segment.segment.doc_nos.astype(np.float32)[:, None] + np.array(
                [0.123, 0.456], np.float32
            )
            index._store.put_prefilter(live_segment.segment.name, model, {"vectors": vectors})
        index._store.adopt_model(model, {})
        yield index


def traces(n: int, index: ColIndex) -> list[bytes]:
    """Bytes that only this document holds: id, metadata, word of the text, codes, prefilter vector."""
    position, ordinal = (int(found[0]) for found in index._store.snapshot().locate(np.array([n])))
    segment = index._store.snapshot().segments[position].segment
    rows = slice(segment.offsets[ordinal], segment.offsets[ordinal + 1])
    return [
        f"id{n}key".encode(),
        f"owner{n}name".encode(),
        f"tag{n}value".encode(),
        f"code{n}word".encode(),
        *(plane[rows].tobytes() for plane in segment.planes),
        (np.float32(n) + np.array([0.123, 0.456], np.float32)).tobytes(),
    ]


def files_with(folder: Path, trace: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and trace in path.read_bytes()]


@pytest.mark.parametrize(
    "gone", [[7], [5, 6, 7, 8, 9, 10, 11], list(range(1, 40))], ids=["one", "some", "all but one"]
)
def test_no_byte_of_a_purged_document_is_left_in_any_file(index, gone):
    wanted = {n: traces(n, index) for n in gone}
    for n in gone:
        # A prefix can also be another term's: FTS5 stores "code12word" after "code1word" as what differs.
        assert all(files_with(index.path, trace) for trace in (wanted[n][0], *wanted[n][4:])), (
            "nothing to purge"
        )
    index.delete([f"id{n}key" for n in gone], purge=True)
    for n in gone:
        for trace in wanted[n]:
            assert files_with(index.path, trace) == [], trace
    assert list(index) == [f"id{n}key" for n in range(40) if n not in gone]
    assert index.info()["prefilter"] is not None
    assert index.check(deep=True).ok


def test_a_purge_also_takes_what_was_deleted_or_replaced_before(index):
    old = traces(3, index), traces(4, index)
    index.delete("id3key")
    index.update_vectors([np.eye(3, DIM)], ids=["id4key"], texts=["new"], metadata=[{}])
    assert any(files_with(index.path, trace) for trace in old[0]), "deleting alone leaves bytes"
    index.delete("id20key", purge=True)
    for trace in (*old[0], *old[1][1:]):
        assert files_with(index.path, trace) == [], trace


def test_a_word_that_only_a_purged_document_had_leaves_the_text_index(index):
    index.update_vectors([np.eye(3, DIM)], ids=["word"], texts=[f"{SECRET} once"])
    index.delete("word", purge=True)
    index.close()
    connection = sqlite3.connect(index.path / "index.sqlite")
    connection.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, texts, row)")
    terms = {term for (term,) in connection.execute("SELECT term FROM terms")}
    connection.close()
    assert SECRET not in terms and "zanzibar" in terms


@pytest.mark.parametrize("sample", [[7], [0, 7], [3], None], ids=["it", "it too", "a dead one", "unknown"])
def test_a_model_that_was_fitted_on_what_goes_goes_as_well(index, sample):
    index.delete("id3key")
    model_tokens = np.full(4, 7.125, np.float32)
    arrays = {"weights": model_tokens} | ({} if sample is None else {"sample": np.array(sample)})
    index._store.adopt_model(index._store.put_model(arrays, {}), {})
    index.delete("id7key", purge=True)
    assert files_with(index.path, model_tokens.tobytes()) == []
    assert index.info()["prefilter"] is None and index.check(deep=True).ok


def test_an_id_that_is_unknown_changes_nothing(index):
    index._store.adopt_model(index._store.put_model({"weights": np.ones(3, np.float32)}, {}), {})
    before = {path.name for path in index.path.rglob("*")}
    with pytest.raises(UnknownIdError, match="'nobody'"):
        index.delete(["id7key", "nobody"], purge=True)
    assert {path.name for path in index.path.rglob("*")} == before and len(index) == 40


def test_a_purge_takes_what_killed_calls_have_left(index):
    """A staged update, a model that was never adopted, files without a row, an unfinished index.sqlite."""
    secret = f"{SECRET}0123456789"

    def update_and_die() -> None:
        with patch.object(staging, "BUFFER_BYTES", 1), patch("colsearch.ingest.pipeline.BATCH_DOCS", 1):
            rows = (np.eye(3, DIM) if n < 2 else os.kill(os.getpid(), signal.SIGKILL) for n in range(3))
            with ColIndex.open(index.path) as own:
                own.update_vectors(rows, ids=["id7key", "x", "y"], texts=[secret] * 3)

    assert run_in_child(update_and_die).kind == "signal"
    assert len(index._store.reader.staged_segments()) == 2
    index._store.put_model({"weights": np.frombuffer(secret.encode(), np.uint8)}, {})
    for name in (
        "segments/1-0.tmp",
        f"segments/{'0' * 32}.pre",
        "index.sqlite.new",
        "index.sqlite.new-journal",
    ):
        (index.path / name).write_text(secret)
    assert len(files_with(index.path, secret.encode())) == 8
    index.delete("id7key", purge=True)
    assert (
        files_with(index.path, secret.encode()) == []
        and SECRET.encode() not in (index.path / "index.sqlite").read_bytes()
    )
    assert index._store.reader.staged_segments() == [] and len(index) == 39 and index.check(deep=True).ok
