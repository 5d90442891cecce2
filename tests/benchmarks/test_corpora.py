"""The shipped collections are the frozen ones, and the builders' rules hold on a handful of texts."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.corpora import debian, wordnet
from benchmarks.corpora.beir import CollectionError, read_collection, read_qrels
from benchmarks.corpora.frozen import words

PARAGRAPH = "is described by a first paragraph that is long enough to be kept as a text"


def package(name: str, short: str, long: str, source: str | None = None) -> debian.Package:
    return debian.Package(name, source or name, short, long)


@pytest.mark.parametrize("collection", [debian, wordnet])
def test_the_shipped_collection_is_the_frozen_one(collection: Any) -> None:
    assert collection.verify() == []
    sums = (collection.FOLDER / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert {line.split("  ")[1] for line in sums} == collection.CHECKSUMS.keys()
    for digest, name in (line.split("  ") for line in sums):
        assert hashlib.sha256((collection.FOLDER / name).read_bytes()).hexdigest() == digest


def test_the_collection_has_one_answer_a_query_and_dev_apart_from_test() -> None:
    test, dev = (read_collection(debian.FOLDER, split=split) for split in ("test", "dev"))
    assert (len(test.documents), len(test.queries), len(dev.queries)) == (30_815, 2_000, 1_000)
    assert not test.queries.keys() & dev.queries.keys()
    assert all(len(judged) == 1 and judged.keys() <= test.documents.keys() for judged in test.qrels.values())
    assert not test.queries.keys() & test.documents.keys(), "evaluators drop hits named like their query"


def test_a_wordnet_query_is_an_example_of_one_meaning_whose_text_does_not_quote_it() -> None:
    collection = read_collection(wordnet.FOLDER)
    assert (len(collection.documents), len(collection.queries)) == (117_659, 2_000)
    assert not collection.queries.keys() & collection.documents.keys()
    answers = [document for judged in collection.qrels.values() for document in judged]
    assert len(set(answers)) == len(answers) == 2_000
    assert len({words(text) for text in collection.queries.values()}) == 2_000
    for query, text in collection.queries.items():
        (document,) = collection.qrels[query]
        assert len(text.split()) >= 4 and text not in collection.documents[document]


@pytest.mark.parametrize("collection", [debian, wordnet])
def test_a_changed_file_is_named(collection: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "qrels").mkdir()
    for name in collection.CHECKSUMS:
        (tmp_path / name).write_bytes((collection.FOLDER / name).read_bytes())
    assert collection.main(["verify", str(tmp_path)]) == 0
    (tmp_path / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    assert collection.verify(tmp_path) == ["qrels/test.tsv"]
    assert collection.main(["verify", str(tmp_path)]) == 1
    assert "differs from the frozen collection in ['qrels/test.tsv']" in capsys.readouterr().out


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
    assert [package.name for package in kept] == ["b"]


def test_train_and_test_share_no_source() -> None:
    packages = [
        package(f"p{i}-{j}", f"s{i}{j}", PARAGRAPH, f"source{i}") for i in range(60) for j in range(15)
    ]
    test, train = debian.split(packages)
    assert test and train
    n_of_source = Counter(drawn.source for drawn in test)
    assert n_of_source.keys().isdisjoint(drawn.source for drawn in train)
    assert max(n_of_source.values()) == 12


def synset(name: str, definition: str, *examples: str, lemmas: tuple[str, ...] = ("word",)) -> wordnet.Synset:
    return wordnet.Synset(name, lemmas, definition, examples)


def test_a_line_of_wordnet_is_lemmas_definition_and_examples() -> None:
    head = "  1 This software and database is being provided to you \n"
    lines = [
        '00014490 00 s 02 galore(ip) 0 all_over 1 001 & 00013887 a 0000 | in plenty; "whiskey galore"; "so it is" ',
        '00014858 00 a 01 scarce 0 000 | not enough; or few; "meat was scarce; drinks too"',
        "00015247 00 a 01 rare 0 000 | seldom met",
    ]
    assert list(wordnet.read_synsets("adj", head + "\n".join(lines) + "\n")) == [
        synset("adj-00014490", "in plenty", "whiskey galore", "so it is", lemmas=("galore", "all over")),
        synset("adj-00014858", "not enough; or few", "meat was scarce; drinks too", lemmas=("scarce",)),
        synset("adj-00015247", "seldom met", lemmas=("rare",)),
    ]


def test_a_line_with_a_missing_quotation_mark_has_no_examples() -> None:
    line = '00000001 00 v 01 drop 0 000 | utter casually; "drop a hint to him"; drop a name or two"'
    assert [synset.examples for synset in wordnet.read_synsets("verb", line)] == [()]


def test_examples_that_are_short_shared_or_quoted_ask_for_nothing() -> None:
    chosen = wordnet.select(
        [
            synset("short", "a", "three words only"),
            synset("shared", "b", "they said the same"),
            synset("sharer", "c", "They said: the same!"),
            synset("quoted", 'as in "he did it all day"', "he did it all day"),
            synset("twin", "d", "a fourth thing is said"),
            synset("other twin", "d", "a fifth thing is said"),
            synset("good", "e", "this one can be asked", "and so can this one", "but one is enough here"),
        ]
    )
    assert [example.synset for example in chosen] == ["good"]


def test_which_examples_are_drawn_does_not_depend_on_the_others() -> None:
    synsets = [
        synset(f"s{i}", f"meaning {i}", f"an example of {i}", f"another of {i} too") for i in range(50)
    ]
    drawn, fewer = wordnet.select(synsets), wordnet.select(synsets[::-2])
    assert len(drawn) == 50 and drawn != sorted(drawn, key=lambda example: example.synset)
    assert fewer == [example for example in drawn if example in fewer]


def test_a_folder_that_is_no_collection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"has no corpus\.jsonl"):
        read_collection(tmp_path)
    (tmp_path / "test.tsv").write_text("q\td\t1\nbroken line\n")
    with pytest.raises(CollectionError, match=r"test\.tsv:2"):
        read_qrels(tmp_path / "test.tsv")
