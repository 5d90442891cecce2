"""Files of lines, plain or compressed: opened, read line by line within bounds, and decoded."""

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, TypeAlias

from colsearch.errors import DocumentError
from colsearch.types import Document

# Per document its place, such as "file:line", and a call that parses it. A call that raises concerns this
# document, which can be skipped; an iterator that raises concerns the rest of the file.
UnparsedDocuments: TypeAlias = Iterator[tuple[str, Callable[[], Document]]]

MAX_LINE_BYTES = 8 << 20
# Reading raises one of these if the file is damaged, or is not compressed as its name says.
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)
_COMPRESSED = (".gz", ".xz")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed.

    Raises: DocumentError: if it is no plain file, or cannot be opened.
    """
    if path.exists() and not path.is_file():
        raise DocumentError(f"{path} is not a plain file")
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rb")  # type: ignore[return-value]
        return lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror}") from None


def suffix(path: Path) -> str:
    """The suffix that names the format: ".jsonl" for corpus.jsonl and for corpus.jsonl.gz."""
    return Path(path.stem).suffix if path.suffix in _COMPRESSED else path.suffix


def find_jsonl(folder: Path, stem: str) -> Path | None:
    """The file <stem>.jsonl of a BEIR folder, plain or compressed; None if there is none."""
    names = (f"{stem}.jsonl{compressed}" for compressed in ("", *_COMPRESSED))
    return next((folder / name for name in names if (folder / name).exists()), None)


def lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Each line that is not blank, and its place as "file:line".

    A line of more than MAX_LINE_BYTES is cut a little beyond that length; its parser refuses it.
    Raises: DocumentError: if the file cannot be read.
    """
    number = 0
    try:
        with closing(open_bytes(path)) as file:
            while line := file.readline(MAX_LINE_BYTES + 2):
                number += 1
                piece, too_long = line, len(line) > MAX_LINE_BYTES
                if number == 1 and not too_long:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if line.strip():
                    yield f"{path}:{number}", line
                # The rest of a line that is too long may be gigabytes: it is read, in pieces, only if the
                # caller asks for the next line.
                while too_long and piece and not piece.endswith(b"\n"):
                    piece = file.readline(MAX_LINE_BYTES)
    except UNREADABLE as error:
        raise DocumentError(f"{path}:{number + 1}: cannot be read: {error}") from None


def decoded(data: bytes, where: str) -> str:
    """The text of a line or a file.

    Raises: DocumentError: if it is too long, or not UTF-8.
    """
    if len(data) > MAX_LINE_BYTES:
        raise too_long(where)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(where, error) from None


def too_long(where: str) -> DocumentError:
    """The error for a line of more than MAX_LINE_BYTES."""
    return DocumentError(f"{where}: a line of more than {MAX_LINE_BYTES >> 20} MiB; split the document")


def not_utf8(where: str, error: UnicodeDecodeError) -> DocumentError:
    """The error for bytes that are not UTF-8."""
    return DocumentError(f"{where}: not UTF-8 at byte {error.start}; convert the file first")
