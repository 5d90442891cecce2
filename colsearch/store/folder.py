"""The layout of an index folder: its files, their names, and how to tell them from files of others.

index.sqlite       what is committed, with index.sqlite-journal while a transaction is written
index.sqlite.new   an index.sqlite that is not finished, and its journal
writer.lock        held by the process that writes
segments/*.seg     documents
segments/*.pre     a segment's documents as a fitted model codes them
models/*.model     fitted models
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from enum import Enum
from pathlib import Path
from typing import Any

from colsearch.errors import DamagedError, IndexExistsError
from colsearch.store import container, files
from colsearch.store.container import Section


class FileKind(Enum):
    """The kinds of immutable files, each with its folder and suffix."""

    SEGMENT = ("segments", ".seg")
    PREFILTER = ("segments", ".pre")
    MODEL = ("models", ".model")

    def __init__(self, folder: str, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix


_FOLDERS = tuple(dict.fromkeys(kind.folder for kind in FileKind))
_SUFFIXES = "|".join(re.escape(kind.suffix) for kind in FileKind)
# A container is named by a hash of its content, once it is finished.
_OWN_NAME = re.compile(rf"[0-9a-f]{{32}}({_SUFFIXES})|{files.TEMPORARY_NAME}")


class IndexFolder:
    """The paths of one index's files.

    Attributes:
        path: the index's folder.
        database, journal, lock: paths of the SQLite file, its rollback journal and the writer's lock.
        unfinished: an SQLite file that has no name yet, and its journal, which a killed `create` leaves.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "index.sqlite"
        self.journal = path / "index.sqlite-journal"
        self.unfinished = (path / "index.sqlite.new", path / "index.sqlite.new-journal")
        self.lock = path / "writer.lock"

    def folder_of(self, kind: FileKind) -> Path:
        """The folder that holds all files of a kind."""
        return self.path / kind.folder

    def path_of(self, kind: FileKind, name: object) -> Path:
        """The path of a file that SQLite names.

        Raises: DamagedError: if the name is not one that the index gives.
        """
        if not isinstance(name, str) or not _OWN_NAME.fullmatch(name) or not name.endswith(kind.suffix):
            raise DamagedError(f"{self.database} names the file {name!r:.80}, which is not one of ours")
        return self.folder_of(kind) / name

    def write(self, kind: FileKind, sections: Sequence[Section], meta: dict[str, Any]) -> tuple[str, int]:
        """Write a container of this kind, durably; returns its file name and its size in bytes.

        Raises: StorageError: nothing is left behind.
        """
        return container.write(self.folder_of(kind), kind.suffix, sections, meta)

    def make(self) -> None:
        """Make the folder and those inside it.

        Raises: IndexExistsError: if the folder holds anything but what a killed `create` leaves; OSError.
        """
        files.make_folder(self.path, parents=True)
        if not all(self._is_left_by_create(path) for path in files.list_folder(self.path)):
            raise IndexExistsError(f"{self.path} is not empty; open it, or choose another folder")
        for name in _FOLDERS:
            files.make_folder(self.path / name)

    def check(self) -> None:
        """Look for the folders of an index that exists.

        Raises: DamagedError: if one is missing, or is no folder.
        """
        for name in _FOLDERS:
            if not files.folder_exists(self.path / name) and self.database.is_file():
                raise DamagedError(
                    f"{self.path / name} is missing; restore it, or run `colsearch check --repair`"
                )

    def is_own_file(self, path: Path) -> bool:
        """Whether the index wrote this file: a plain file with one of the names that it gives."""
        return bool(_OWN_NAME.fullmatch(path.name)) and files.is_plain_file(path)

    def own_files(self, kind: FileKind) -> list[Path]:
        """All files of a kind that the index wrote, sorted by name."""
        paths = files.list_folder(self.folder_of(kind))
        return sorted(path for path in paths if self.is_own_file(path) and path.suffix == kind.suffix)

    def unnamed_files(self, named: Set[str]) -> list[str]:
        """Names of everything in the folders of files beside the named files, whoever wrote it."""
        return [
            name
            for folder in _FOLDERS
            for name in sorted(path.name for path in files.list_folder(self.path / folder))
            if name not in named
        ]

    def sweep(self, named: Mapping[FileKind, Set[str]]) -> None:
        """Remove the files that the index wrote and that no row of SQLite names any more."""
        for folder in _FOLDERS:
            kept = set[str]().union(*(names for kind, names in named.items() if kind.folder == folder))
            for path in files.list_folder(self.path / folder):
                if self.is_own_file(path) and path.name not in kept:
                    files.remove(path)

    def sizes_bytes(self) -> Iterator[int]:
        """The size of each file in the folder and below it."""
        return (files.size_bytes(path) for path in self.path.rglob("*") if path.is_file())

    def _is_left_by_create(self, path: Path) -> bool:
        if path in self.unfinished:
            return True
        return path.name in _FOLDERS and path.is_dir() and not files.list_folder(path)
