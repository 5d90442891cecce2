"""Fitted models and prefilter files: stored one by one, and used by searches once their model is adopted."""

import json
from typing import Any

from colsearch.store import tables
from colsearch.store.container import Array, Section
from colsearch.store.folder import FileKind
from colsearch.store.prefilter_file import write_prefilter
from colsearch.store.tables import ModelRow
from colsearch.store.writer import Writer

_NO_NOTES = "{}"


def put_model(writer: Writer, arrays: dict[str, Array], meta: dict[str, Any]) -> str:
    """Store a model's arrays and return its name; no search uses it before it is adopted.

    Args:
        meta: JSON-ready, stored with the arrays.
    """
    sections = [Section.of(name, array) for name, array in arrays.items()]
    with writer.lock():
        name, n_bytes = writer.folder.write(FileKind.MODEL, sections, meta)
        with writer.transaction() as connection:
            tables.insert_model(connection, ModelRow(name, _NO_NOTES), n_bytes, current=False)
    return name


def put_prefilter(writer: Writer, segment: str, model: str, arrays: dict[str, Array]) -> None:
    """Store the arrays that a model computed from a segment, with one row per document."""
    with writer.lock():
        row = write_prefilter(writer.folder, segment, model, arrays)
        with writer.transaction() as connection:
            tables.insert_prefilter(connection, row)


def adopt_model(writer: Writer, name: str, notes: dict[str, Any]) -> None:
    """Make this model the current one, and remove all others with their prefilter files.

    Args:
        notes: JSON-ready, what was measured of the model on these documents.
    """
    with writer.lock():
        with writer.transaction() as connection:
            tables.delete_other_models(connection, keep=name)
            tables.set_current_model(connection, json.dumps(notes))
        writer.sweep()


def forget_models(writer: Writer, *, keep: str | None) -> None:
    """Remove all models but one, adopted or not, with their prefilter files."""
    with writer.lock():
        with writer.database.reading() as connection:
            has_others = tables.has_other_models(connection, keep)
        if not has_others:
            return
        with writer.transaction() as connection:
            tables.delete_other_models(connection, keep)
        writer.sweep()
