"""CSV and TSV files with a header -> documents, one per row."""

import csv
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from colsearch.errors import DocumentError
from colsearch.formats.files import MAX_LINE_BYTES, UNREADABLE, UnparsedDocuments, open_bytes, too_long
from colsearch.formats.jsonlines import ID_KEYS
from colsearch.types import Document


def read_csv(path: Path) -> UnparsedDocuments:
    """The rows of a comma-separated file; a misplaced quote is an error."""
    return _read(path, delimiter=",", strict=True)


def read_tsv(path: Path) -> UnparsedDocuments:
    """The rows of a tab-separated file; a misplaced quote is taken as it stands."""
    return _read(path, delimiter="\t", strict=False)


def _read(path: Path, *, delimiter: str, strict: bool) -> UnparsedDocuments:
    with open_bytes(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        rows = csv.reader(_bounded_lines(text, path), delimiter=delimiter, strict=strict)
        try:
            header = next(rows, [])
            if "text" not in header or not set(ID_KEYS) & set(header):
                raise DocumentError(f"{path}:1: the header needs the columns id and text, it has {header}")
            for row in rows:
                where = f"{path}:{rows.line_num}"
                yield where, partial(_parse, header, row, where)
        except (csv.Error, UnicodeDecodeError, *UNREADABLE) as error:
            raise DocumentError(f"{path}:{rows.line_num + 1}: {error}") from None


def _parse(header: list[str], row: list[str], where: str) -> Document:
    if len(row) != len(header):
        raise DocumentError(f"{where}: {len(row)} columns, the header has {len(header)}")
    values = dict(zip(header, row))
    id_key = next(key for key in ID_KEYS if key in values)
    text = f"{values.pop('title', '')} {values.pop('text')}".strip()
    return Document(values.pop(id_key), text, values)


def _bounded_lines(text: io.TextIOWrapper, path: Path) -> Iterator[str]:
    """Lines for the csv module, which alone would read a line of any length into memory."""
    number = 0
    while line := text.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise too_long(f"{path}:{number}")
        yield line
