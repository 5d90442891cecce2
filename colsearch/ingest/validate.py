"""Documents that a caller hands over, checked once: ids, texts, metadata."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias

import numpy as np

from colsearch.errors import DocumentError
from colsearch.types import DocId, Document, Metadata

# A document whose id, text and metadata are checked, and its token vectors, which are not yet; None for a text.
Incoming: TypeAlias = tuple[Document, object]
MAX_METADATA_BYTES = 1 << 20
MAX_METADATA_DEPTH = 64
_INT64 = range(-(2**63), 2**63)
_END = object()


def checked_id(value: object) -> DocId:
    """A document id as it will be stored: a non-empty string or a 64-bit integer."""
    if isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value not in _INT64:
            raise DocumentError(f"id {value} does not fit into 64 bits; use a string")
        return value
    if isinstance(value, str) and value:
        return checked_text(value, where=f"id {value!r}")
    raise DocumentError(f"an id is a non-empty string or an integer, not {value!r}")


def checked_text(text: object, *, where: str) -> str:
    """The text itself, if it can be written as UTF-8."""
    if not isinstance(text, str):
        raise DocumentError(f"{where}: a text is a str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DocumentError(
            f"{where}: lone surrogate at character {error.start}; decode the source with errors='replace'"
        ) from None
    return text


def checked_metadata(metadata: Metadata | None, *, where: str) -> dict[str, Any]:
    """A plain dict that survives a round trip through JSON."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise DocumentError(f"{where}: metadata is a mapping, not {type(metadata).__name__}")
    try:
        encoded = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False).encode()
        plain: dict[str, Any] = json.loads(encoded, parse_int=_integer)
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: metadata cannot be stored as JSON: {error}") from None
    if len(encoded) > MAX_METADATA_BYTES:
        raise DocumentError(f"{where}: metadata of {len(encoded)} bytes; at most {MAX_METADATA_BYTES}")
    if len(plain) < len(metadata):
        raise DocumentError(f"{where}: two keys of the metadata are the same when written as strings")
    if _is_deeper(plain, MAX_METADATA_DEPTH):
        raise DocumentError(f"{where}: metadata nested more than {MAX_METADATA_DEPTH} levels deep")
    return plain


def _integer(digits: str) -> int:
    if math.isinf(float(digits)):
        raise ValueError(f"an integer of {len(digits)} digits is beyond every number type")
    return int(digits)


def _is_deeper(value: object, n_levels: int) -> bool:
    level = [value]
    for _ in range(n_levels + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


@dataclass(frozen=True, slots=True)
class Columns:
    """Documents as the caller's columns, which may be streams; None for a column that is not given."""

    texts: Iterable[str | None] | None
    ids: Iterable[DocId] | None = None
    metadata: Iterable[Metadata | None] | None = None
    vectors: Iterable[object] | None = None

    @property
    def n_docs(self) -> int | None:
        """The number of documents, if it is known before they are read."""
        return length(self.texts if self.vectors is None else self.vectors)

    def documents(self, first_id: int) -> Iterator[Incoming]:
        """Walk the columns in step, in constant memory.

        Args:
            first_id: documents without ids are numbered from here.
        Raises: DocumentError: if a value cannot be stored, or one column ends before another.
        """
        columns = {"texts": self.texts, "vectors": self.vectors, "ids": self.ids, "metadata": self.metadata}
        given = {name: iter(column) for name, column in columns.items() if column is not None}
        for n in count():
            row: dict[str, Any] = {name: next(column, _END) for name, column in given.items()}
            ended = [name for name, value in row.items() if value is _END]
            if ended:
                if len(ended) < len(row):
                    others = " and ".join(name for name in row if name not in ended)
                    raise DocumentError(
                        f"{' and '.join(ended)} ended after {n} entries, but {others} went on"
                    )
                return
            document_id = checked_id(row["ids"]) if self.ids is not None else first_id + n
            text = row.get("texts")
            yield _checked(document_id, text, row.get("metadata")), row.get("vectors")


def checked_documents(documents: Iterable[Document]) -> Iterator[Incoming]:
    """Documents that hold id, text and metadata together."""
    for document in documents:
        yield _checked(checked_id(document.id), document.text or "", document.metadata), None


def length(items: object) -> int | None:
    """The length of what has one; a stream has none."""
    return len(items) if isinstance(items, Sized) else None


def _checked(document_id: DocId, text: str | None, metadata: Metadata | None) -> Document:
    where = f"document {document_id!r}"
    return Document(
        document_id,
        None if text is None else checked_text(text, where=where),
        checked_metadata(metadata, where=where),
    )
