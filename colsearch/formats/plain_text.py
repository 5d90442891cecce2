"""Text files -> documents, one per file."""

from functools import partial
from pathlib import Path

from colsearch.errors import DocumentError
from colsearch.formats.files import MAX_LINE_BYTES, UnparsedDocuments, decoded
from colsearch.types import Document

SUFFIXES = (".txt", ".md")


def read_folder(folder: Path) -> UnparsedDocuments:
    """The text files of a folder and of all folders in it; a document's id is the file's path within it."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES and p.is_file()):
        yield str(path), partial(_parse, path, folder)


def read_text_file(path: Path) -> UnparsedDocuments:
    """A single text file; the document's id is the file's name."""
    yield str(path), partial(_parse, path, path.parent)


def _parse(path: Path, root: Path) -> Document:
    if path.stat().st_size > MAX_LINE_BYTES:
        raise DocumentError(f"{path}: a file of more than {MAX_LINE_BYTES >> 20} MiB; split it")
    text = decoded(path.read_bytes(), str(path))
    return Document(path.relative_to(root).as_posix(), text, {})
