"""JSON Lines -> documents, one per line, whatever a line may hold."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from colsearch.errors import DocumentError
from colsearch.formats.files import MAX_LINE_BYTES, UnparsedDocuments, lines, not_utf8, too_long
from colsearch.types import Document

MAX_DEPTH = 64
_MAX_INTEGER_DIGITS = 64
ID_KEYS = ("_id", "id")
_QUOTE, _BACKSLASH = b'"\\'


def read_json_lines(path: Path) -> UnparsedDocuments:
    """The documents of a .jsonl file."""
    for where, line in lines(path):
        yield where, partial(parse_line, line, where=where)


def parse_line(line: bytes, *, where: str) -> Document:
    """The document of one line.

    "_id" (or "id") and "text" are needed. A "title" is put before the text. The fields of a "metadata"
    object and every other key become metadata.
    Raises: DocumentError: naming `where` and what is wrong.
    """
    record = parse_record(line, where=where)
    keys = [key for key in ID_KEYS if key in record]
    if not keys:
        raise DocumentError(f"{where}: the record has neither '_id' nor 'id'")
    text, title = record.get("text"), record.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise DocumentError(f"{where}: 'text' and 'title' are strings; 'text' is needed")
    document_id = record[keys[0]]
    if isinstance(document_id, bool) or not isinstance(document_id, str | int):
        raise DocumentError(f"{where}: the id is a string or an integer, not {document_id!r:.60}")
    nested = record.get("metadata")
    metadata = dict(nested) if isinstance(nested, dict) else {}
    own_keys = {*ID_KEYS, "text", "title", "metadata"}
    metadata |= {key: value for key, value in record.items() if key not in own_keys}
    return Document(document_id, f"{title} {text}".strip(), metadata)


def parse_record(line: bytes, *, where: str) -> dict[str, Any]:
    """The JSON object of one line.

    Raises: DocumentError: for a line that is too long or too deeply nested, is not UTF-8, or uses what
        standard JSON lacks: a key twice, NaN, infinity, or a number too large.
    """
    if len(line) > MAX_LINE_BYTES:
        raise too_long(where)
    if _depth(line) > MAX_DEPTH:
        raise DocumentError(f"{where}: nested more than {MAX_DEPTH} levels deep")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(where, error) from None
    try:
        record = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: not JSON: {error}") from None
    if not isinstance(record, dict):
        raise DocumentError(f"{where}: a line holds one JSON object, not {type(record).__name__}")
    return record


def _depth(line: bytes) -> int:
    """How deeply a line is nested, found without recursion; 0 if it has too few brackets to be too deep.

    Past MAX_DEPTH the rest of the line is not read.
    """
    if line.count(b"[") + line.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    in_string = escaped = False
    for byte in line:
        if in_string:
            if escaped:
                escaped = False
            elif byte == _BACKSLASH:
                escaped = True
            elif byte == _QUOTE:
                in_string = False
        elif byte == _QUOTE:
            in_string = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                return deepest
        elif byte in b"]}":
            depth -= 1
    return deepest


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} comes twice")
    return record


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits:.40} is too large")
    return value


def _integer(digits: str) -> int:
    if len(digits) > _MAX_INTEGER_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)
