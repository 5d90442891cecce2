"""The shipped collection is the frozen one, and the builder's rules hold on a handful of packages."""

import hashlib
from pathlib import Path

import pytest

from benchmarks.corpora import debian
from benchmarks.corpora.beir import CollectionError, read_collection, read_qrels

PARAGRAPH = "is described by a first paragraph that is long enough to be kept as a text"


def package(name: str, short: str, long: str, source: str | None = None) -> debian.Package:
    return debian.Package(name, source or name, short, long)


def test_the_shipped_collection_is_the_frozen_one() -> None:
    assert debian.verify() == []
    sums = (debian.FOLDER / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    for digest, name in (line.split("  ") for line in sums):
        assert hashlib.sha256((debian.FOLDER / name).read_bytes()).hexdigest() == digest


def test_the_collection_has_one_answer_a_query_and_dev_apart_from_test() -> None:
    test, dev = (read_collection(debian.FOLDER, split=split) for split in ("test", "dev"))
    assert (len(test.documents), len(test.queries), len(dev.queries)) == (30_815, 2_000, 1_000)
    assert not test.queries.keys() & dev.queries.keys()
    assert all(len(judged) == 1 and judged.keys() <= test.documents.keys() for judged in test.qrels.values())
    assert not test.queries.keys() & test.documents.keys(), "evaluators drop hits named like their query"


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    for name in debian.CHECKSUMS:
        (tmp_path / name).write_bytes((debian.FOLDER / name).read_bytes())
    (tmp_path / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\n")
    assert debian.verify(tmp_path) == ["qrels/dev.tsv"]


def test_descriptions_are_read_with_paragraphs_joined_and_lone_dots_as_breaks() -> None:
    index = f"Package: a\nDescription-en: short\n first line\n second line\n .\n {PARAGRAPH}\n\nPackage: b\n"
    assert list(debian.read_descriptions(index, {"a": "up"})) == [
        package("a", "short", f"first line second line\n{PARAGRAPH}", "up")
    ]


def test_shared_short_texts_and_repeated_paragraphs_are_left_out() -> None:
    kept = debian.select(
        [
            package("b", "Unique b", f"B {PARAGRAPH}"),
            package("a", "Same thing", f"A {PARAGRAPH}"),
            package("c", "same  thing!", f"C {PARAGRAPH}"),
            package("d", "Unique d", f"b, {PARAGRAPH}"),
        ]
    )
    assert [one.name for one in kept] == ["b"]


def test_train_and_test_share_no_source() -> None:
    packages = [
        package(f"p{i}-{j}", f"s{i}{j}", PARAGRAPH, f"source{i}") for i in range(60) for j in range(15)
    ]
    test, train = debian.split(packages)
    assert {one.source for one in test}.isdisjoint(one.source for one in train) and test and train
    assert max(sum(one.source == source for one in test) for source in {one.source for one in test}) == 12


def test_a_folder_that_is_no_collection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"has no corpus\.jsonl"):
        read_collection(tmp_path)
    (tmp_path / "test.tsv").write_text("q\td\t1\nbroken line\n")
    with pytest.raises(CollectionError, match=r"test\.tsv:2"):
        read_qrels(tmp_path / "test.tsv")
