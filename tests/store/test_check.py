"""A change in SQLite's tables never gives a wrong answer, and is always found and repaired."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from colsearch import ColIndex
from colsearch.errors import ColsearchError, DamagedError, FormatError
from colsearch.store.check import check_folder
from colsearch.store.repair import repair_folder
from tests.support import world

# Statements that contradict the segments, and whether an index with them may open.
CHANGES = {
    "an id leads to another document": ("UPDATE documents SET id = '\"zz\"' WHERE id = '\"a3\"'", True),
    "two ids are exchanged": (
        "UPDATE documents SET id = CASE id WHEN '\"a5\"' THEN '\"a6\"' ELSE '\"a5\"' END WHERE id IN ('\"a5\"', '\"a6\"')",
        True,
    ),
    "an id is lost": ("DELETE FROM documents WHERE id = '\"a5\"'", True),
    "an id is a blob": ("UPDATE documents SET id = CAST(id AS BLOB) WHERE id = '\"a5\"'", True),
    "an id is nothing's": ("INSERT INTO documents VALUES (99, '\"ghost\"')", True),
    "a deletion is lost": (
        "DELETE FROM tombstones WHERE doc_no = (SELECT max(doc_no) FROM tombstones)",
        False,
    ),
    "a deletion too many": ("INSERT INTO tombstones VALUES (5)", False),
    "a segment is lost": ("DELETE FROM segments WHERE first_doc_no = 0", False),
    "a segment comes later": ("UPDATE segments SET first_doc_no = 70 WHERE first_doc_no = 0", False),
    "a segment is hidden": ("UPDATE segments SET staged = 1 WHERE first_doc_no = 0", False),
    "another seed": (
        "UPDATE state SET value = replace(value, '20260', '20261') WHERE key = 'settings'",
        False,
    ),
    "fewer documents are visible": ("UPDATE state SET value = 3 WHERE key = 'visible'", False),
    "no seal": ("DELETE FROM state WHERE key = 'seal'", False),
    "a metadata value is lost": ("DELETE FROM fields WHERE path = 'tags' AND doc_no = 5", True),
    "a metadata value is another": (
        "UPDATE fields SET value = 7 WHERE path = 'version' AND doc_no = 5",
        True,
    ),
    "a metadata value too many": ("INSERT INTO fields VALUES ('x', 's', 'y', 5)", True),
    "metadata of no document": ("INSERT INTO fields VALUES ('x', 's', 'y', 4711)", True),
    "metadata of a document without number": ("INSERT INTO fields VALUES ('x', 's', 'y', 'z')", True),
    "a text is lost": ("DELETE FROM texts_docsize WHERE id = 5", True),
    "a text is longer": ("UPDATE texts_docsize SET sz = x'7f' WHERE id = 5", True),
    "a word too many": ("INSERT INTO texts (rowid, text) VALUES (5, 'intruder')", True),
    "totals of the text index": ("UPDATE texts_data SET block = x'0101' WHERE id = 1", True),
    "another tokenizer": (
        "UPDATE sqlite_master SET sql = replace(sql, 'porter unicode61', 'unicode61 porter') WHERE name = 'texts'",
        True,
    ),
    "a model is forgotten": ("UPDATE models SET current = 0", False),
    "a model's notes": ("UPDATE models SET notes = '{\"z\": 9}'", False),
}


@pytest.fixture
def built(tmp_path: Path) -> tuple[Path, world.State]:
    state = world.build_base(tmp_path / "index")
    with ColIndex.open(tmp_path / "index") as index:
        for step in world.STEPS[:4]:
            step.run(index)
            state = step.model(state)
    return tmp_path / "index", state


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path / "index.sqlite")) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        before = connection.total_changes
        connection.execute(sql)
        assert connection.total_changes > before, "the statement changes nothing"


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_sqlite_is_found_and_repaired_and_never_believed(built, name):
    path, state = built
    sql, opens = CHANGES[name]
    assert check_folder(path, deep=True).ok
    change(path, sql)
    try:
        with ColIndex.open(path) as index:
            assert opens, "opened"
            for hit in index.search(world.QUERY, k=99) + index.search(
                world.QUERY, k=99, where={"version": 7}
            ):
                assert world.wrong_hit(hit, state) is None
    except DamagedError:
        assert not opens
    report = check_folder(path, deep=True)
    assert not report.ok and report.problems
    report = repair_folder(path)
    assert report.ok, report.problems
    with ColIndex.open(path) as index:
        kept = {id: index.get(id).metadata["version"] for id in index}
        assert world.mismatch(index, kept) is None
    # A lost deletion cannot be restored, so the repair says that it does not know.
    if name == "a deletion is lost":
        assert kept.keys() >= state.keys() and "could not be trusted" in report.repaired[0]
    else:
        assert kept == state
    world.assert_writer_works(path, kept)


@pytest.mark.parametrize("call", ["get", "delete", "update", "rerank", "explain"])
def test_no_call_takes_sqlites_word_for_which_document_an_id_is(built, call):
    path, _ = built
    change(path, CHANGES["two ids are exchanged"][0])
    with ColIndex.open(path) as index:
        calls = {
            "get": lambda: index.get("a5"),
            "delete": lambda: index.delete("a5"),
            "update": lambda: world.put(index, {"a5": 9}, replace=True),
            "rerank": lambda: index.rerank(world.QUERY, ["a5", "a7"]),
            "explain": lambda: index.explain(world.QUERY, "a5"),
        }
        before = list(index)
        with pytest.raises(DamagedError, match="leads from id"):
            calls[call]()
        assert list(index) == before


def test_a_newer_format_is_refused_with_advice_and_never_rebuilt(built):
    path, _ = built
    change(path, "UPDATE state SET value = 2 WHERE key = 'format_version'")
    with pytest.raises(FormatError, match="upgrade colindex"):
        ColIndex.open(path)
    with pytest.raises(FormatError, match="upgrade colindex"):
        check_folder(path)
    with pytest.raises(FormatError, match="upgrade colindex"):
        repair_folder(path)


def test_a_report_is_json_and_names_files_that_no_commit_names(built):
    path, _ = built
    (path / "segments" / f"{0:032x}.seg").write_bytes(b"left by a killed write")
    report = check_folder(path, deep=True)
    assert report.ok and json.loads(json.dumps(report.to_json()))["unnamed_files"] == [f"{0:032x}.seg"]
    with ColIndex.open(path) as index:
        world.put(index, {"one more": 1})
        assert not index.check().unnamed_files


def test_check_of_a_folder_that_cannot_be_written_needs_no_writing(built):
    path, state = built
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    with ColIndex.open(path, read_only=True) as index:
        assert index.check(deep=True).ok
        with pytest.raises(ColsearchError, match="read-only"):
            index.check(repair=True)
        assert world.mismatch(index, state) is None
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before
