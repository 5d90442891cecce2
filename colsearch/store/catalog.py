"""The catalog: the small tables of SQLite that decide what a search sees, under one checksum, and typed.

SQLite's pages have no checksums. These tables say how codes are read, which segments are searched and which
of their documents are live. Everything else that a hit tells comes from the segments.
"""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

import xxhash

from colsearch.errors import DamagedError
from colsearch.store import tables
from colsearch.store.tables import ModelRow, SegmentRow, typed
from colsearch.types import I64


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that one commit says about an index.

    Attributes:
        settings: those that the index was created with.
        visible: the highest document number that readers see.
        segments: those that are not staged, in insertion order.
        tombstones: sorted int64 numbers of dead documents.
        model: the current fitted model, if there is one.
        prefilters: names of segment and model -> name of the prefilter file.
    """

    settings: dict[str, Any]
    visible: int
    segments: list[SegmentRow]
    tombstones: I64
    model: ModelRow | None
    prefilters: dict[tuple[str, str], str]


def seal(connection: sqlite3.Connection) -> None:
    """Write the checksum of the small tables: the last statement of every transaction."""
    tables.write_seal(connection, _checksum(connection))


def is_sealed(connection: sqlite3.Connection) -> bool:
    """Whether the small tables are those of the last commit."""
    stored = tables.stored_seal(connection)
    return stored is not None and stored == _checksum(connection)


def read_catalog(connection: sqlite3.Connection) -> Catalog:
    """Read and check the small tables.

    Raises: DamagedError: if the checksum is wrong, or a value has another type than was written.
    """
    if not is_sealed(connection):
        raise DamagedError(
            "the settings, segments or deletions in index.sqlite do not match their checksum; "
            "run `colsearch check --repair`"
        )
    try:
        return _catalog(connection)
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise DamagedError(f"index.sqlite is malformed ({error}); run `colsearch check --repair`") from None


def _catalog(connection: sqlite3.Connection) -> Catalog:
    state = tables.state(connection)
    return Catalog(
        settings=typed(json.loads(typed(state["settings"], str)), dict),
        visible=typed(state["visible"], int),
        segments=tables.published_segments(connection),
        tombstones=tables.tombstones(connection),
        model=tables.current_model(connection),
        prefilters=tables.prefilter_names(connection),
    )


def _checksum(connection: sqlite3.Connection) -> str:
    digest = xxhash.xxh3_128()
    for row in tables.sealed_rows(connection):
        digest.update(repr(row).encode())
    # There may be millions of tombstones, so they are hashed as one array.
    digest.update(tables.tombstones(connection).astype("<i8").tobytes())
    return str(digest.hexdigest())
