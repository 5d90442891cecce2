"""A file or folder -> the queries in it."""

from collections.abc import Iterator
from pathlib import Path

from colsearch.errors import DocumentError
from colsearch.formats.files import decoded, find_jsonl, lines, suffix
from colsearch.formats.jsonlines import ID_KEYS, parse_record


def read_queries(path: Path) -> Iterator[tuple[str, str]]:
    """Stream ids and texts of queries.

    Args:
        path: a BEIR folder with queries.jsonl, a .jsonl file, or a .tsv file of two columns.
    Raises: DocumentError: naming file and line.
    """
    file = find_jsonl(path, "queries") if path.is_dir() else path
    if file is None:
        raise DocumentError(f"{path} holds no queries.jsonl")
    parse = _parse_json if suffix(file) == ".jsonl" else _parse_columns
    for where, line in lines(file):
        yield parse(line, where)


def _parse_json(line: bytes, where: str) -> tuple[str, str]:
    record = parse_record(line, where=where)
    if not set(ID_KEYS) & record.keys() or not isinstance(record.get("text"), str):
        raise DocumentError(f"{where}: a query has an '_id' and a 'text'")
    return str(record.get("_id", record.get("id"))), record["text"]


def _parse_columns(line: bytes, where: str) -> tuple[str, str]:
    columns = decoded(line, where).rstrip("\r\n").split("\t")
    if len(columns) != 2:
        raise DocumentError(f"{where}: a query line is an id, a tab and a text")
    return columns[0], columns[1]
