"""File operations of the store: the one module, beside `lock` and `fork`, that knows the operating system.

A test can record these operations or make them fail. Another platform is added here. A function raises
OSError unless its docstring names other errors.
"""

import errno
import mmap
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from colsearch.errors import DamagedError, StorageError

# The errors of opening a link or a socket. Any other refusal says nothing about what the file holds.
_NOT_A_FILE = frozenset({errno.ELOOP, errno.ENXIO})
# The names that `temporary_path` gives, as a regular expression.
TEMPORARY_NAME = r"[0-9a-f]+-[0-9a-f]+\.tmp"


def temporary_path(folder: Path) -> Path:
    """A name that no file has: not even a temporary file that could not be removed."""
    return folder / f"{os.getpid():x}-{secrets.token_hex(8)}.tmp"


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to be written in a `with` block, which ends with an fsync.

    Raises: StorageError: if the operating system refuses; the file is removed again.
    """
    try:
        with path.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        remove(path)
        raise StorageError(
            error.errno, f"cannot write {path}: {error.strerror}; nothing was changed"
        ) from error


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file its name, durably.

    Raises: StorageError.
    """
    try:
        replace(temporary, final)
        sync_folder(final.parent)
    except OSError as error:
        raise StorageError(
            error.errno, f"cannot write {final}: {error.strerror}; nothing was changed"
        ) from error


def replace(temporary: Path, final: Path) -> None:
    """Rename a file, in place of one that has the name already; durable once the folder is synced."""
    temporary.replace(final)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def list_folder(folder: Path) -> list[Path]:
    """Everything that is directly in a folder, in no order.

    Raises: FileNotFoundError; StorageError: if the operating system refuses, for want of memory for instance.
    """
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(error.errno, f"cannot list {folder}: {error.strerror}") from error


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """Make a folder unless it exists; durable once its parent is synced."""
    folder.mkdir(parents=parents, exist_ok=True)


def remove(path: Path) -> None:
    """Unlink a file that the index no longer needs; readers that mapped it keep its content.

    A failure is ignored, because the caller has committed already or is about to raise the error that
    matters. The next write removes the file, as it removes all files that SQLite does not name.
    """
    with suppress(OSError):
        path.unlink(missing_ok=True)


def folder_exists(path: Path) -> bool:
    """Whether the folder exists.

    Raises: DamagedError: if something else has its name. A link or a device could lead anywhere, or hang.
    """
    return _is_kind(path, stat.S_ISDIR, "folder")


def file_exists(path: Path) -> bool:
    """Whether the file exists.

    Raises: DamagedError: if something else has its name. A link, pipe or device could lead anywhere, or hang.
    """
    return _is_kind(path, stat.S_ISREG, "file")


def is_plain_file(path: Path) -> bool:
    """Whether a path that exists is a plain file, not a folder, link, pipe or device."""
    return stat.S_ISREG(path.lstat().st_mode)


def is_writable(path: Path) -> bool:
    """Whether this process may write to the file or folder."""
    return os.access(path, os.W_OK)


def anything_exists(path: Path) -> bool:
    """Whether anything has this name, a link to nothing included."""
    return os.path.lexists(path)


def size_bytes(path: Path) -> int:
    """The size of a file."""
    return path.stat().st_size


def map_file(path: Path, *, min_bytes: int) -> mmap.mmap:
    """Map a plain file into memory, read-only.

    Raises: FileNotFoundError; DamagedError: if it is no plain file, or shorter than min_bytes; StorageError:
        if the operating system refuses, for want of memory or descriptors for instance.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise DamagedError(f"{path}: cannot be opened as a plain file ({error.strerror})") from None
        raise StorageError(error.errno, f"cannot open {path}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size < min_bytes:
            raise DamagedError(f"{path}: not a plain file of at least {min_bytes} bytes")
        return mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise StorageError(error.errno, f"cannot map {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def release_pages(mapped: mmap.mmap) -> None:
    """Remove a mapped file's pages from this process's memory; the next read brings them back."""
    mapped.madvise(mmap.MADV_DONTNEED)


def _is_kind(path: Path, is_right: Callable[[int], bool], kind: str) -> bool:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}") from None
    if not is_right(mode):
        raise DamagedError(f"{path} is not a plain {kind}")
    return True
