"""A path -> a stream of documents, in memory that does not grow with the file."""

import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from colsearch.errors import DocumentError
from colsearch.formats.jsonlines import MAX_LINE_BYTES, parse_line, parse_record
from colsearch.types import Document

_PACKED = (".gz", ".xz")
_MAX_LISTED = 100
# What reading a file can raise that is damaged, or packed by something else.
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(slots=True)
class Skipped:
    """Lines that were left out: how many, and why the first hundred were."""

    n: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, error: DocumentError) -> None:
        self.n += 1
        if len(self.reasons) < _MAX_LISTED:
            self.reasons.append(str(error))


def read_documents(path: Path, *, skipped: Skipped | None = None) -> Iterator[Document]:
    """Stream the documents of a file or folder.

    Args:
        path: .jsonl, .tsv or .csv (also .gz or .xz of them), a BEIR folder with corpus.jsonl, or a folder of
            .txt and .md files, whose ids are their paths within it.
        skipped: broken lines are counted here and left out; without it the first one raises.
    Raises: DocumentError: naming file and line.
    """
    for where, parse in _sources(path):
        try:
            yield parse()
        except DocumentError as error:
            if skipped is None:
                raise
            skipped.add(DocumentError(f"{where}: {error}") if where not in str(error) else error)


def read_queries(path: Path) -> Iterator[tuple[str, str]]:
    """(id, text) of the queries in a BEIR folder's queries.jsonl, a .jsonl or a two-column .tsv file."""
    file = _named(path, "queries") if path.is_dir() else path
    if _kind(file) == ".jsonl":
        for where, line in _lines(file):
            record = parse_record(line, where=where)
            if not {"_id", "id"} & record.keys() or not isinstance(record.get("text"), str):
                raise DocumentError(f"{where}: a query has an '_id' and a 'text'")
            yield str(record.get("_id", record.get("id"))), record["text"]
        return
    for where, line in _lines(file):
        parts = _decoded(line, where).rstrip("\r\n").split("\t")
        if len(parts) != 2:
            raise DocumentError(f"{where}: a query line is an id, a tab and a text")
        yield parts[0], parts[1]


def _sources(path: Path) -> Iterator[tuple[str, "_Parse"]]:
    if path.is_dir():
        corpus = [
            path / f"corpus.jsonl{end}" for end in ("", *_PACKED) if (path / f"corpus.jsonl{end}").exists()
        ]
        if corpus:
            yield from _sources(corpus[0])
            return
        for file in sorted(p for p in path.rglob("*") if p.suffix in (".txt", ".md") and p.is_file()):
            yield str(file), _TextFile(file, path)
        return
    if not path.is_file():
        raise DocumentError(f"{path}: no such file or folder")
    kind = _kind(path)
    if kind == ".jsonl":
        for where, line in _lines(path):
            yield where, _JsonLine(line, where)
    elif kind in (".tsv", ".csv"):
        yield from _table(path, "\t" if kind == ".tsv" else ",")
    elif kind in (".txt", ".md"):
        yield str(path), _TextFile(path, path.parent)
    else:
        raise DocumentError(f"{path}: reads .jsonl, .tsv, .csv, .txt, .md and folders, not {kind or 'this'}")


@dataclass(frozen=True, slots=True)
class _JsonLine:
    line: bytes
    where: str

    def __call__(self) -> Document:
        return parse_line(self.line, where=self.where)


@dataclass(frozen=True, slots=True)
class _TextFile:
    path: Path
    root: Path

    def __call__(self) -> Document:
        if self.path.stat().st_size > MAX_LINE_BYTES:
            raise DocumentError(f"{self.path}: a file of more than {MAX_LINE_BYTES >> 20} MiB; split it")
        text = _decoded(self.path.read_bytes(), str(self.path))
        return Document(self.path.relative_to(self.root).as_posix(), text, {})


@dataclass(frozen=True, slots=True)
class _TableRow:
    header: list[str]
    row: list[str]
    where: str

    def __call__(self) -> Document:
        if len(self.row) != len(self.header):
            raise DocumentError(f"{self.where}: {len(self.row)} columns, the header has {len(self.header)}")
        values = dict(zip(self.header, self.row))
        key = "_id" if "_id" in values else "id"
        text = f"{values.pop('title', '')} {values.pop('text')}".strip()
        return Document(values.pop(key), text, values)


_Parse = _JsonLine | _TextFile | _TableRow


def _table(path: Path, delimiter: str) -> Iterator[tuple[str, _TableRow]]:
    with _opened(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as text:
        rows = csv.reader(_text_lines(text, path), delimiter=delimiter, strict=delimiter == ",")
        try:
            header = next(rows, [])
            if "text" not in header or not {"_id", "id"} & set(header):
                raise DocumentError(f"{path}:1: the header needs the columns id and text, it has {header}")
            for row in rows:
                where = f"{path}:{rows.line_num}"
                yield where, _TableRow(header, row, where)
        except (csv.Error, UnicodeDecodeError, *_UNREADABLE) as error:
            raise DocumentError(f"{path}:{rows.line_num + 1}: {error}") from None


def _text_lines(text: io.TextIOWrapper, path: Path) -> Iterator[str]:
    number = 0
    while line := text.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise DocumentError(
                f"{path}:{number}: a line of more than {MAX_LINE_BYTES >> 20} MiB; split the document"
            )
        yield line


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    number = 0
    try:
        with closing(_opened(path)) as file:
            while line := file.readline(MAX_LINE_BYTES + 2):
                number += 1
                part, too_long = line, len(line) > MAX_LINE_BYTES
                if number == 1 and not too_long:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield f"{path}:{number}", line
                # Of a line that is too long only the beginning was given, for whoever parses it to refuse; its rest,
                # which may be gigabytes, is read only if they go on.
                while too_long and part and not part.endswith(b"\n"):
                    part = file.readline(MAX_LINE_BYTES)
    except _UNREADABLE as error:
        raise DocumentError(f"{path}:{number + 1}: cannot be read: {error}") from None


def _opened(path: Path) -> IO[bytes]:
    if path.exists() and not path.is_file():
        raise DocumentError(f"{path} is not a plain file")
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rb")  # type: ignore[return-value]
        return lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror}") from None


def _kind(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in _PACKED else path.suffix


def _named(folder: Path, name: str) -> Path:
    for end in ("", *_PACKED):
        if (folder / f"{name}.jsonl{end}").exists():
            return folder / f"{name}.jsonl{end}"
    raise DocumentError(f"{folder} holds no {name}.jsonl")


def _decoded(data: bytes, where: str) -> str:
    if len(data) > MAX_LINE_BYTES:
        raise DocumentError(f"{where}: a line of more than {MAX_LINE_BYTES >> 20} MiB; split the document")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{where}: not UTF-8 at byte {error.start}; convert the file first") from None
