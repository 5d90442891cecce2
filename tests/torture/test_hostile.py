"""Hostile input gives a typed error in bounded time and memory, and the index removes only its own files."""

import gzip
import json
import lzma
import os
import pickle
import re
import resource
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.encoders.checkpoint import check_checkpoint
from colsearch.errors import ColsearchError, DocumentError, EncoderError, ShapeError
from colsearch.formats.documents import Skipped, read_documents
from colsearch.formats.queries import read_queries
from colsearch.formats.trec import read_qrels, read_run
from colsearch.store.check import check_folder
from colsearch.store.repair import repair_folder
from tests.support import world
from tests.support.checkpoints import write_pylate
from tests.support.children import run_in_child
from tests.support.memory import address_space_bytes

# After SECONDS of the clock, a hang ends, even on a busy machine; one call may take CPU_SECONDS of processor.
SECONDS, CPU_SECONDS = 60, 1.0
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
# Lines that are valid JSON, so that the index itself must refuse them.
REFUSED_BY_THE_INDEX: dict[str, bytes] = {
    "a lone surrogate in the text": b'{"_id": "a", "text": "\\ud800"}',
    "a lone surrogate in the id": b'{"_id": "\\udfff", "text": "t"}',
    "a lone surrogate in a key": b'{"_id": "a", "text": "t", "\\ud800": 1}',
    "an id of 20 digits": b'{"_id": 99999999999999999999, "text": "t"}',
    "an empty id": b'{"_id": "", "text": "t"}',
    "2 MiB of metadata": b'{"_id": "a", "text": "t", "x": "' + b"y" * (2 << 20) + b'"}',
}


@contextmanager
def soon() -> Iterator[None]:
    """Assert that the body takes less than CPU_SECONDS."""
    start = time.process_time()
    yield
    spent = time.process_time() - start
    assert spent < CPU_SECONDS, f"{spent:.2f} s"


def small_child(function: Callable[[], object]) -> None:
    """Run in a forked child that may take half a GiB more memory than it starts with."""

    def limited() -> None:
        limit = address_space_bytes() + MORE_MEMORY_BYTES
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
        with soon(), pytest.raises(DocumentError, match=r"corpus\.jsonl"):
            list(read_documents(path))
        skipped = Skipped()
        with soon():
            assert [document.id for document in read_documents(path, skipped=skipped)] == ["good"]
        # A line that is too long is read in parts, and each part counts.
        assert skipped.n >= 1 and skipped.reasons

    small_child(read)


@pytest.mark.parametrize("name", REFUSED_BY_THE_INDEX)
def test_a_hostile_document_is_refused_by_the_index(tmp_path, name):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(REFUSED_BY_THE_INDEX[name])
    [document] = read_documents(path)

    def add() -> None:
        with ColIndex.create(tmp_path / "index", dim=world.DIM) as index:
            with soon(), pytest.raises(DocumentError):
                index.add_vectors(
                    [np.ones((1, world.DIM))],
                    ids=[document.id],
                    texts=[document.text],
                    metadata=[document.metadata],
                )
            assert len(index) == 0 and index.check(deep=True).ok

    small_child(add)


def bomb(kind: str) -> bytes:
    """A GiB of the letter x on one line, or in one field of a table."""
    head = b"" if kind == "jsonl" else b"id,text\na,t\nb," if kind == "csv" else b"id\ttext\na\tt\nb\t"
    packer = zlib.compressobj(1, wbits=31)
    piece = b"x" * (8 << 20)
    return b"".join([packer.compress(head), *(packer.compress(piece) for _ in range(128)), packer.flush()])


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_a_gzip_bomb_is_refused_soon_and_in_bounded_memory(tmp_path, kind):
    path = tmp_path / f"corpus.{kind}.gz"
    path.write_bytes(bomb(kind))
    n_good = 0 if kind == "jsonl" else 1

    def read() -> None:
        documents = read_documents(path)
        assert [document.id for document in islice(documents, n_good)] == ["a"][:n_good]
        with soon(), pytest.raises(DocumentError, match="more than 8 MiB"):
            next(documents)

    small_child(read)


@pytest.mark.parametrize("end", ["gz", "xz"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_a_packed_file_that_is_cut_or_garbled_is_a_typed_error(tmp_path, kind, end):
    packed = {"gz": gzip.compress, "xz": lzma.compress}[end]
    lines = [b"id\ttext", *(b"a%d\t%s" % (n, secrets.token_hex(20).encode()) for n in range(2000))]
    if kind == "jsonl":
        lines = [json.dumps({"_id": n, "text": secrets.token_hex(20)}).encode() for n in range(2000)]
    content = packed(b"\n".join(lines).replace(b"\t", b"," if kind == "csv" else b"\t"))
    middle = len(content) // 2
    path = tmp_path / f"corpus.{kind}.{end}"
    path.write_bytes(content)
    assert len(list(read_documents(path))) == 2000
    garbled = content[:middle] + bytes(8) + content[middle + 8 :]
    for bad in (content[:middle], garbled, b"not packed at all" * 99, content + b"more"):
        path.write_bytes(bad)
        with soon(), pytest.raises(DocumentError, match=rf"corpus\.{kind}\.{end}:"):
            list(read_documents(path))


@pytest.mark.parametrize(
    "read", [read_documents, read_queries, read_run, read_qrels], ids=lambda f: f.__name__
)
@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["fifo", "device"]
)
def test_a_reader_refuses_what_is_no_plain_file(tmp_path, read, make):
    path = tmp_path / "corpus.jsonl"
    make(path)

    def use() -> None:
        with soon(), pytest.raises(DocumentError, match=r"corpus\.jsonl"):
            list(read(path))

    small_child(use)


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
        # Load kernels and libraries before children are forked, so that each child does not.
        index.search(world.QUERY)
        check_folder(memory / "whole", deep=True)
        compacted = Path(shutil.copytree(memory / "whole", memory / "compacted"))
    with ColIndex.open(compacted) as index:
        index.compact()
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
            with soon(), suppress(ColsearchError):
                call()

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
        lambda index: index.search(world.QUERY, k=2**63),
        lambda index: index.rerank(world.QUERY, ["a0"] * 100_000),
        lambda index: index.rerank(world.QUERY, [f"none{n}" for n in range(100_000)]),
        lambda index: index.search(np.full((8192, world.DIM), 1e38, np.float32)),
        lambda index: index.search(np.full((2, world.DIM), np.nan)),
        lambda index: index.search([world.QUERY] * 1000, k=3),
        lambda index: index.get("\ud800"),
        lambda index: "\ud800" in index and None,
        lambda index: index.delete("x" * (1 << 24)),
    ],
    ids=range(9),
)
def test_an_extreme_call_ends_soon(scratch, whole, call):
    copy = scratch / "copy"
    shutil.copytree(whole, copy)

    def use() -> None:
        with ColIndex.open(copy, n_threads=1) as index, soon(), suppress(ColsearchError):
            call(index)

    small_child(use)


def test_a_query_of_a_million_tokens_is_refused_and_a_k_of_2_to_the_31_gives_all(scratch, whole):
    copy = scratch / "copy"
    shutil.copytree(whole, copy)

    def use() -> None:
        with ColIndex.open(copy, n_threads=1) as index:
            with soon(), pytest.raises(ShapeError, match="this one has 1000000"):
                index.search(np.ones((1_000_000, world.DIM), np.float32))
            with soon():
                found = index.search(world.QUERY, k=2**31)
            assert len(found) == len(index) and found == index.search(world.QUERY, k=len(index))

    small_child(use)


def deep_json(path: Path) -> None:
    path.write_bytes(b"[" * 1_000_000 + b"]" * 1_000_000)


def large_json(path: Path) -> None:
    path.write_bytes(b'{"x": "' + b"y" * (16 << 20) + b'"}')


def endless_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 7 + b"\x7f{")


def pickled(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".bin").write_bytes(pickle.dumps(os.getcwd))


JSON_THINGS = [
    as_looping_symlink,
    as_fifo,
    as_folder,
    as_device,
    as_file,
    deep_json,
    large_json,
    endless_header,
]
MODEL_PLACES = {
    **dict.fromkeys(["modules.json", "config.json", "1_Dense/config.json"], JSON_THINGS),
    **dict.fromkeys(["config_sentence_transformers.json", "tokenizer_config.json"], JSON_THINGS),
    "1_Dense": [as_looping_symlink, as_fifo, as_device, as_file],
    "model.safetensors": [
        as_looping_symlink,
        as_fifo,
        as_folder,
        as_device,
        as_file,
        endless_header,
        pickled,
    ],
    "1_Dense/model.safetensors": [as_fifo, as_folder, as_device, endless_header, pickled],
}


@pytest.mark.parametrize(
    ("place", "thing"),
    [(place, thing) for place, things in MODEL_PLACES.items() for thing in things],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_hostile_model_folder_is_refused_before_anything_is_loaded(tmp_path, place, thing):
    folder = write_pylate(tmp_path / "model")
    check_checkpoint(folder, trust_remote_code=False)
    path = folder / place
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    thing(path)

    def use() -> None:
        with soon(), pytest.raises(EncoderError, match=re.escape(str(folder))):
            check_checkpoint(folder, trust_remote_code=False)

    small_child(use)
