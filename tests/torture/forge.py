"""Malformed containers and SQLite rows with right checksums, as a hostile index may hold them."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from colsearch.store import catalog, container
from colsearch.store.container import FIXED_BYTES, HEADER_BYTES, MAGIC, Container, Section

Arrays = dict[str, np.ndarray]
Header = dict[str, Any]


def with_header(path: Path, edit: Callable[[Header], object]) -> str:
    """Rewrite the header of a container, its checksum and the file's name; returns the new name."""
    content = path.read_bytes()
    n_bytes = int(np.frombuffer(content, "<u4", 2, 8)[1])
    header = json.loads(content[FIXED_BYTES : FIXED_BYTES + n_bytes])
    edited = edit(header)
    encoded = json.dumps(header if edited is None else edited).encode()
    return with_raw_header(path, encoded)


def with_raw_header(path: Path, encoded: bytes) -> str:
    """The same with any bytes in place of the header's JSON."""
    content = path.read_bytes()
    fixed = np.array([1, len(encoded)], "<u4").tobytes() + xxhash.xxh3_64_digest(encoded)
    head = (MAGIC + fixed).ljust(FIXED_BYTES, b"\0") + encoded
    name = xxhash.xxh3_128_hexdigest(encoded) + path.suffix
    path.with_name(name).write_bytes(head.ljust(HEADER_BYTES, b"\0") + content[HEADER_BYTES:])
    return name


def with_arrays(path: Path, edit: Callable[[Arrays], object], meta: Mapping[str, Any] | None = None) -> str:
    """Write a container anew with other arrays; returns the new name."""
    file = Container(path)
    arrays = {name: file.rows(name).copy() for name in file.section_bytes()}
    edit(arrays)
    sections = [Section.of(name, array) for name, array in arrays.items()]
    return container.write(path.parent, path.suffix, sections, dict(meta or file.meta))[0]


def rename(folder: Path, old: str, new: str) -> None:
    """Make SQLite name another container, and copy a segment's counts from that container."""
    change(folder, "UPDATE segments SET name = :new WHERE name = :old", old=old, new=new)
    change(folder, "UPDATE prefilters SET segment = :new WHERE segment = :old", old=old, new=new)
    change(folder, "UPDATE prefilters SET name = :new WHERE name = :old", old=old, new=new)
    change(folder, "UPDATE prefilters SET model = :new WHERE model = :old", old=old, new=new)
    change(folder, "UPDATE models SET name = :new WHERE name = :old", old=old, new=new)
    try:
        file = Container(folder / "segments" / new)
        first, n_docs = int(file.rows("doc_nos").flat[0]), len(file.rows("doc_nos"))
        n_tokens = int(file.rows("offsets").flat[-1])
    except Exception:  # noqa: BLE001 then SQLite keeps the old figures
        return
    change(
        folder,
        "UPDATE segments SET n_docs = :docs, n_tokens = :tokens, first_doc_no = :first WHERE name = :new",
        docs=n_docs, tokens=n_tokens, first=first, new=new,
    )  # fmt: skip


def change(folder: Path, sql: str, **values: object) -> None:
    """Run a statement on SQLite's file and seal it as a commit does."""
    with closing(sqlite3.connect(folder / "index.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.execute(sql, values)
        catalog.seal(connection)
        connection.execute("COMMIT")
