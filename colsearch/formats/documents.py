"""A file or folder -> a stream of documents, in memory that does not grow with the file.

A new file format is a reader in a file of its own, and a line in _READERS.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from colsearch.errors import DocumentError
from colsearch.formats.files import UnparsedDocuments, find_jsonl, suffix
from colsearch.formats.jsonlines import read_json_lines
from colsearch.formats.plain_text import SUFFIXES, read_folder, read_text_file
from colsearch.formats.tables import read_csv, read_tsv
from colsearch.types import Document

_READERS: dict[str, Callable[[Path], UnparsedDocuments]] = {
    ".jsonl": read_json_lines,
    ".tsv": read_tsv,
    ".csv": read_csv,
    **dict.fromkeys(SUFFIXES, read_text_file),
}
_MAX_LISTED = 100


@dataclass(slots=True)
class Skipped:
    """Broken documents that were left out: their number, and why the first hundred were."""

    n: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, error: DocumentError) -> None:
        self.n += 1
        if len(self.reasons) < _MAX_LISTED:
            self.reasons.append(str(error))


def read_documents(path: Path, *, skipped: Skipped | None = None) -> Iterator[Document]:
    """Stream the documents of a file or folder.

    Args:
        path: a .jsonl, .tsv or .csv file (also compressed, as .gz or .xz), a BEIR folder with
            corpus.jsonl, or a folder of .txt and .md files, whose ids are their paths within it.
        skipped: broken documents are counted here and left out; without it the first one raises.
    Raises: DocumentError: naming file and line.
    """
    for where, parse in _read(path):
        try:
            yield parse()
        except DocumentError as error:
            if skipped is None:
                raise
            skipped.add(DocumentError(f"{where}: {error}") if where not in str(error) else error)


def _read(path: Path) -> UnparsedDocuments:
    if path.is_dir():
        corpus = find_jsonl(path, "corpus")
        return _read(corpus) if corpus else read_folder(path)
    if not path.is_file():
        raise DocumentError(f"{path}: no such file or folder")
    kind = suffix(path)
    if kind not in _READERS:
        raise DocumentError(f"{path}: reads {', '.join(_READERS)} and folders, not {kind or 'this'}")
    return _READERS[kind](path)
