"""How ids and metadata are written as JSON in segments and in SQLite, and read back."""

import json
import re
from json.encoder import encode_basestring as _quoted
from typing import Any

from colsearch.types import DocId

# Most ids are integers, or strings without escapes. These are read without the cost of a JSON parser.
_PLAIN_INTEGER = re.compile(rb"0|[1-9][0-9]{0,17}")
_PLAIN_STRING = re.compile(rb'"[ !#-\[\]-~]*"')


def id_key(id: DocId) -> str:
    """An id as JSON, so that the string "1" and the integer 1 are two ids."""
    # The same as `json.dumps(id, ensure_ascii=False)`, which builds an encoder for each call.
    return _quoted(id) if isinstance(id, str) else int.__repr__(id)


def encode_metadata(metadata: dict[str, Any]) -> bytes:
    """Metadata as compact JSON in UTF-8."""
    return json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()


def decode_id(blob: bytes) -> DocId:
    """The id that was written as these bytes.

    Raises: ValueError: if the index could not have written them.
    """
    if _PLAIN_STRING.fullmatch(blob):
        return blob[1:-1].decode()
    if _PLAIN_INTEGER.fullmatch(blob):
        return int(blob)
    id = _parsed(blob, "id")
    if not isinstance(id, str | int) or isinstance(id, bool):
        raise ValueError(f"the id is {id!r:.80}, neither a string nor an integer")
    return id


def decode_metadata(blob: bytes) -> dict[str, Any]:
    """The metadata that were written as these bytes.

    Raises: ValueError: if the index could not have written them.
    """
    if blob == b"{}":
        return {}
    metadata = _parsed(blob, "metadata")
    if not isinstance(metadata, dict):
        raise ValueError("the metadata are no mapping")
    return metadata


def _parsed(blob: bytes, name: str) -> object:
    try:
        value: object = json.loads(blob.decode())
        # The index writes no \u escapes. One in a forged file could make a lone surrogate, which SQLite
        # refuses.
        if b"\\u" in blob:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: {error}") from None
    return value
