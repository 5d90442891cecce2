"""Hostile input: a typed error, in bounded time and memory, and nothing is removed that the index did not write."""

import gzip
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.errors import ColsearchError, DocumentError
from colsearch.readers import Skipped, read_documents
from colsearch.store import check_folder, repair_folder
from tests.torture import world
from tests.torture.children import run_in_child
from tests.torture.test_damage import _address_space_bytes

SECONDS = 10
MORE_MEMORY_BYTES = 512 << 20

LINES: dict[str, bytes] = {
    "a depth bomb of lists": b'{"_id": "a", "text": "t", "x": ' + b"[" * 100_000,
    "a depth bomb of objects": b'{"x":' * 100_000,
    "a closed depth bomb": b'{"_id": "a", "text": "t", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a line of 16 MiB": b'{"_id": "a", "text": "' + b"x" * (16 << 20) + b'"}',
    "16 MiB of brackets": b"[" * (16 << 20),
    "NaN": b'{"_id": "a", "text": "t", "x": NaN}',
    "Infinity": b'{"_id": "a", "text": "t", "x": -Infinity}',
    "a number beyond doubles": b'{"_id": "a", "text": "t", "x": 1e999}',
    "an integer of 5,000 digits": b'{"_id": "a", "text": "t", "x": ' + b"9" * 5000 + b"}",
    "an integer of a million digits": b'{"_id": "a", "text": "t", "x": ' + b"9" * 1_000_000 + b"}",
    "a duplicate key": b'{"_id": "a", "text": "t", "text": "u"}',
    "a nested duplicate key": b'{"_id": "a", "text": "t", "x": {"y": 1, "y": 2}}',
    "an id that is a list": b'{"_id": ["a"], "text": "t"}',
    "an id that is true": b'{"_id": true, "text": "t"}',
    "a text that is a number": b'{"_id": "a", "text": 7}',
    "no id": b'{"text": "t"}',
    "a string": b'"text"',
    "half an object": b'{"_id": "a", "text": "t"',
    "not UTF-8": b'{"_id": "a", "text": "\xff\xfe"}',
    "a null byte": b'{"_id": "a", "text": "t"}\x00',
    "UTF-16": '{"_id": "a", "text": "t"}'.encode("utf-16"),
}
# What is JSON, and what the index itself must refuse.
REFUSED_BY_THE_INDEX: dict[str, bytes] = {
    "a lone surrogate in the text": b'{"_id": "a", "text": "\\ud800"}',
    "a lone surrogate in the id": b'{"_id": "\\udfff", "text": "t"}',
    "a lone surrogate in a key": b'{"_id": "a", "text": "t", "\\ud800": 1}',
    "an id of 20 digits": b'{"_id": 99999999999999999999, "text": "t"}',
    "an empty id": b'{"_id": "", "text": "t"}',
    "2 MiB of metadata": b'{"_id": "a", "text": "t", "x": "' + b"y" * (2 << 20) + b'"}',
}


def small_child(function: Callable[[], object]) -> None:
    """Run in a process that may take half a GiB more memory and ten seconds."""

    def limited() -> None:
        limit = _address_space_bytes() + MORE_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        function()

    run_in_child(limited, seconds=SECONDS).unwrap()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", LINES)
def test_a_hostile_line_is_refused_and_can_be_skipped(tmp_path, name, packed):
    path = tmp_path / ("corpus.jsonl.gz" if packed else "corpus.jsonl")
    good = json.dumps({"_id": "good", "text": "fine"}).encode()
    content = good + b"\n" + LINES[name].replace(b"\n", b" ")
    path.write_bytes(gzip.compress(content, 1) if packed else content)

    def read() -> None:
        with pytest.raises(DocumentError, match=r"corpus\.jsonl"):
            list(read_documents(path))
        skipped = Skipped()
        assert [document.id for document in read_documents(path, skipped=skipped)] == ["good"]
        # A line that is too long counts once for each part of it that was read.
        assert skipped.n >= 1 and skipped.reasons

    small_child(read)


@pytest.mark.parametrize("name", REFUSED_BY_THE_INDEX)
def test_a_hostile_document_is_refused_by_the_index(tmp_path, name):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(REFUSED_BY_THE_INDEX[name])
    [document] = read_documents(path)

    def add() -> None:
        with ColIndex.create(tmp_path / "index", dim=world.DIM) as index:
            with pytest.raises(DocumentError):
                index.add_vectors(
                    [np.ones((1, world.DIM))],
                    ids=[document.id],
                    texts=[document.text],
                    metadata=[document.metadata],
                )
            assert len(index) == 0 and index.check(deep=True).ok

    small_child(add)


def test_a_gzip_bomb_is_read_in_bounded_memory(tmp_path):
    path = tmp_path / "corpus.jsonl.gz"
    with gzip.open(path, "wb", 1) as file:
        for _ in range(128):
            file.write(b"x" * (8 << 20))

    def read() -> None:
        with pytest.raises(DocumentError, match="more than 8 MiB"):
            next(iter(read_documents(path)))

    small_child(read)


def as_symlink(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def as_looping_symlink(path: Path) -> None:
    path.symlink_to(path)


def as_fifo(path: Path) -> None:
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    path.mkdir()


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_file(path: Path) -> None:
    path.write_bytes(b"something else")


PLACES = [
    "index.sqlite",
    "index.sqlite-journal",
    "writer.lock",
    "segments",
    "models",
    "*.seg",
    "*.pre",
    "*.model",
]
THINGS = [as_symlink, as_looping_symlink, as_fifo, as_folder, as_device, as_file]


@pytest.fixture(scope="module")
def whole(memory: Path) -> Path:
    world.build_base(memory / "whole")
    with ColIndex.open(memory / "whole") as index:
        world.STEPS[3].run(index)
    return memory / "whole"


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_something_else_in_place_of_a_file_is_a_typed_error(scratch, whole, place, thing):
    copy = scratch / "copy"
    shutil.copytree(whole, copy)
    path = next(iter(sorted(copy.rglob(place))), copy / place)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    thing(path)

    def use() -> None:
        calls: list[Callable[[], object]] = [
            lambda: check_folder(copy, deep=True),
            lambda: ColIndex.open(copy).search(world.QUERY),
            lambda: ColIndex.open(copy, read_only=True).search(world.QUERY),
            lambda: world.put(ColIndex.open(copy), {"added": 1}),
            lambda: ColIndex.open(copy).compact(),
            lambda: repair_folder(copy),
        ]
        for call in calls:
            try:
                call()
            except ColsearchError:
                continue

    small_child(use)


def test_what_the_index_did_not_write_stays(scratch, whole):
    copy = scratch / "copy"
    shutil.copytree(whole, copy)
    victim = scratch / "victim"
    victim.write_text("precious")
    name = "0" * 32
    foreign = {
        "segments/notes.txt": lambda path: path.write_text("mine"),
        f"segments/{name}.seg.bak": lambda path: path.write_text("mine"),
        f"segments/{name}.txt": lambda path: path.write_text("mine"),
        f"segments/{'1' * 32}.seg": lambda path: path.symlink_to(victim),
        f"segments/{'2' * 32}.seg": lambda path: path.mkdir(),
        f"segments/{'3' * 32}.pre": os.mkfifo,
        "models/readme": lambda path: path.write_text("mine"),
        "other": lambda path: path.write_text("mine"),
    }
    for place, make in foreign.items():
        make(copy / place)
    with ColIndex.open(copy) as index:
        world.put(index, {"one": 1})
        index.delete(["one", "a0"], purge=True)
        index.compact()
        world.put(index, {"two": 1})
        assert index.check(deep=True).ok
    assert all(os.path.lexists(copy / place) for place in foreign) and victim.read_text() == "precious"
    with pytest.raises(ColsearchError, match="not empty"):
        ColIndex.create(copy, dim=world.DIM)


@pytest.mark.parametrize(
    "call",
    [
        lambda index: index.search(world.QUERY, k=2**31),
        lambda index: index.search(world.QUERY, k=2**63),
        lambda index: index.rerank(world.QUERY, ["a0"] * 100_000),
        lambda index: index.rerank(world.QUERY, [f"none{n}" for n in range(100_000)]),
        lambda index: index.search(np.ones((1_000_000, world.DIM), np.float32)),
        lambda index: index.search(np.full((8192, world.DIM), 1e38, np.float32)),
        lambda index: index.search(np.full((2, world.DIM), np.nan)),
        lambda index: index.search([world.QUERY] * 2000, k=3),
        lambda index: index.get("\ud800"),
        lambda index: "\ud800" in index and None,
        lambda index: index.delete("x" * (1 << 24)),
    ],
    ids=range(11),
)
def test_an_extreme_call_ends_soon(scratch, whole, call):
    copy = scratch / "copy"
    shutil.copytree(whole, copy)

    def use() -> None:
        with ColIndex.open(copy, n_threads=1) as index:
            try:
                call(index)
            except ColsearchError:
                return

    small_child(use)


def test_a_query_of_a_million_tokens_is_refused_and_a_k_of_2_to_the_31_gives_all(scratch, whole):
    copy = scratch / "copy"
    shutil.copytree(whole, copy)

    def use() -> None:
        with ColIndex.open(copy, n_threads=1) as index:
            with pytest.raises(ColsearchError, match=r"1,?000,?000"):
                index.search(np.ones((1_000_000, world.DIM), np.float32))
            found = index.search(world.QUERY, k=2**31)
            assert len(found) == len(index) and found == index.search(world.QUERY, k=len(index))

    small_child(use)
