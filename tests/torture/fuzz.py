"""Random bytes and structures for the readers, which must give a result or an error of ours."""

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from colsearch.errors import ColsearchError, DocumentError, FilterError
from colsearch.formats.jsonlines import parse_line
from colsearch.store import container
from colsearch.store.container import FIXED_BYTES, HEADER_BYTES, MAGIC, Container, Section
from colsearch.store.filter import compile_where, field_rows
from colsearch.store.schema import SCHEMA

# Runs once, and raises only what is no error of ours.
Target = Callable[[random.Random], None]

SCRAPS = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"0", b"-1", b"1e9", b"9" * 25, b"null", b"true", b"\\", b"\\ud800",
          b"\xff", b"\x00", b"NaN", b"offset", b"shape", b"dtype", b"<i8", b"|u1", b"name", b" "]  # fmt: skip


def mutated(rng: random.Random, data: bytes, n_max: int = 6) -> bytes:
    """The data with a few bytes changed, removed or repeated, and scraps inserted that a parser knows."""
    content = bytearray(data)
    for _ in range(rng.randrange(1, n_max)):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(content):
            content[at] = rng.randrange(256)
        elif kind == 1 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del content[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            content[at:at] = rng.choice(SCRAPS)
        else:
            length = rng.randrange(1, 30)
            content[at:at] = content[at : at + length] * rng.randrange(1, 4)
    return bytes(content)


def header_target(folder: Path) -> Target:
    """A mutated header of a container; four in five have a right checksum and file name."""
    sections = [Section.of("a", np.arange(40, dtype=np.int64)), Section.of("b", np.zeros((3, 5), np.uint8))]
    name, _ = container.write(folder, ".seg", sections, {"kind": "segment", "settings": {"dim": 8}})
    whole = (folder / name).read_bytes()
    n_bytes = int(np.frombuffer(whole, "<u4", 2, 8)[1])
    header, rest = whole[FIXED_BYTES : FIXED_BYTES + n_bytes], whole[HEADER_BYTES:]

    def run(rng: random.Random) -> None:
        if rng.random() < 0.2:
            content, path = (
                mutated(rng, whole[: FIXED_BYTES + n_bytes]) + whole[FIXED_BYTES + n_bytes :],
                folder / name,
            )
        else:
            encoded = mutated(rng, header)[: HEADER_BYTES - FIXED_BYTES]
            head = MAGIC + np.array([1, len(encoded)], "<u4").tobytes() + xxhash.xxh3_64_digest(encoded)
            content = (head.ljust(FIXED_BYTES, b"\0") + encoded).ljust(HEADER_BYTES, b"\0") + rest
            path = folder / f"{xxhash.xxh3_128_hexdigest(encoded)}.seg"
        path.write_bytes(content)
        try:
            with suppress(ColsearchError):
                file = Container(path)
                for section in file.section_bytes():
                    file.rows(section).sum()
                file.array("a", "<i8", (None,))
        finally:
            path.unlink()

    return run


def jsonl_target() -> Target:
    """A line of JSON, mutated."""
    seeds = [
        b'{"_id": "doc-1", "title": "A title", "text": "Some text \\u00e9\\n", "metadata": {"year": 2020}}',
        b'{"id": 17, "text": "t", "tags": ["a", {"b": [1.5e3, -2, null, true]}], "x": {"y": {"z": []}}}',
        '{"_id": "é😀", "text": "", "n": 123456789012345678901234567890}'.encode(),
    ]

    def run(rng: random.Random) -> None:
        with suppress(DocumentError):
            document = parse_line(mutated(rng, rng.choice(seeds)), where="fuzz:1")
            json.dumps(document.metadata, allow_nan=False)

    return run


def filter_target() -> Target:
    """An expression of valid and invalid parts, compiled and run."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    for doc_no, metadata in enumerate([{"x": 1, "y": ["a", None]}, {"x": {"z": 2.5}}, {"y": True}]):
        connection.execute("INSERT INTO documents VALUES (?, ?)", (doc_no, str(doc_no)))
        rows = [(*row, doc_no) for row in field_rows(metadata)]
        connection.executemany("INSERT INTO fields VALUES (?, ?, ?, ?)", rows)

    def run(rng: random.Random) -> None:
        with suppress(FilterError):
            sql, values = compile_where(_expression(rng, rng.randrange(5)))
            for (doc_no,) in connection.execute(sql, values):
                assert 0 <= doc_no < 3

    return run


_KEYS = [
    "x",
    "y",
    "x.z",
    "",
    "x'; DROP TABLE documents; --",
    'a"b',
    "$and",
    "$or",
    "$not",
    "$nor",
    "$",
    "\ud800",
    "é",
    "%",
    7,
]
_OPERATORS = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not", "$regex", "x", ""]
_VALUES: list[Any] = [
    None, True, 0, -1, 2**63, 10**400, 1.5, float("nan"), float("inf"), "", "a", "\udfff", "' OR 1=1", b"bytes",
    [], ["a", 1], {}, object(), np.float32(1), np.arange(3), {"a"}, "x" * 100,
]  # fmt: skip


def _expression(rng: random.Random, depth: int) -> Any:
    if rng.random() < 0.05:
        return rng.choice(_VALUES)
    return {rng.choice(_KEYS): _condition(rng, depth) for _ in range(rng.randrange(4))}


def _condition(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(4)
    if kind == 0 or not depth:
        return rng.choice(_VALUES)
    if kind == 1:
        return [_expression(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 2:
        return _expression(rng, depth - 1)
    return {rng.choice(_OPERATORS): _condition(rng, depth - 1) for _ in range(rng.randrange(3))}


# Executions of each target in `make test`, which take a few seconds.
N_EXECUTIONS = {"segment header": 16_000, "JSONL": 100_000, "filter": 30_000}


def targets(folder: Path) -> Iterator[tuple[str, Target]]:
    yield "segment header", header_target(folder)
    yield "JSONL", jsonl_target()
    yield "filter", filter_target()


def fuzz(target: Target, seeds: range) -> list[str]:
    """Run a target once for each seed; returns the errors that were not ours."""
    found = []
    for seed in seeds:
        try:
            target(random.Random(seed))
        except Exception as error:  # noqa: BLE001 this is what is looked for
            found.append(f"seed {seed}: {type(error).__name__}: {error!s:.200}")
    return found
