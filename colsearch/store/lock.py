"""One writer at a time: a lock on a file, which the death of its holder frees."""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colsearch.errors import IndexLockedError, StorageError

FILE_NAME = "writer.lock"


class WriterLock:
    """An exclusive flock, held during one write; the same thread may take it again inside."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._threads = threading.RLock()
        self._depth = 0
        self._descriptor = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raises: IndexLockedError at once, naming the holder, if another writes; StorageError, also for memory."""
        with self._threads:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            self._descriptor = self._acquire()
            self._depth = 1
            try:
                yield
            except MemoryError as error:
                raise StorageError(
                    errno.ENOMEM,
                    f"not enough memory for this write to {self._path.parent}; nothing was changed",
                ) from error
            finally:
                self._depth = 0
                # Said aloud: a child that was forked meanwhile holds the lock with us as long as its copy is open.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
                self._let_go()

    def forget(self) -> None:
        """In a forked child: the lock is the parent's. A copy of the descriptor would keep it when the parent dies."""
        self._let_go()
        self._threads = threading.RLock()
        self._depth = 0

    def _let_go(self) -> None:
        # Forgotten first: while it is closed, another thread may open a file that gets its number, and fork a child,
        # which would close that file.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _acquire(self) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(error.errno, f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        except BlockingIOError:
            holder_text = os.pread(descriptor, 1024, 0).decode(errors="replace")
            os.close(descriptor)
            raise IndexLockedError(
                f"{self._path.parent} is being written by {holder_text or 'another process'}; "
                "try again when that write is done"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StorageError(error.errno, f"cannot lock {self._path}: {error.strerror}") from error
        return descriptor
