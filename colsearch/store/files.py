"""Every file operation of the store in one place, so that a test can record it or make it fail."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from colsearch.errors import DamagedError, StorageError


def write_file(path: Path, chunks: Iterable[bytes | memoryview], *, head_bytes: int, head: object) -> None:
    """Write `head_bytes` of room, then the chunks, then fill the room with `head()`, and fsync.

    The head is made last because it holds checksums of what follows.
    """
    try:
        with path.open("xb") as file:
            file.write(bytes(head_bytes))
            for chunk in chunks:
                file.write(chunk)
            file.seek(0)
            file.write(head())  # type: ignore[operator]
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        remove(path)
        raise StorageError(
            error.errno, f"cannot write {path}: {error.strerror}; nothing was changed"
        ) from error


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file its name, durably."""
    try:
        temporary.replace(final)
        sync_folder(final.parent)
    except OSError as error:
        raise StorageError(
            error.errno, f"cannot write {final}: {error.strerror}; nothing was changed"
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_kind(path: Path, is_right: Callable[[int], bool], what: str) -> bool:
    """Whether something is there.

    Raises: DamagedError: if it is not what it should be: a link, a pipe or a device may lead anywhere, or hang.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}") from None
    if not is_right(mode):
        raise DamagedError(f"{path} is not a plain {what}")
    return True


def remove(path: Path) -> None:
    """Unlink a file that the index wrote and no longer names; readers that mapped it keep it.

    If that fails, the file is left to the next write, which removes what no row names: whoever calls has
    committed already, or is about to raise the error that matters.
    """
    with suppress(OSError):
        path.unlink(missing_ok=True)
