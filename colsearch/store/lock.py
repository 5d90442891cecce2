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
from colsearch.store import fork


class WriterLock:
    """An exclusive flock, held during one write; the thread that holds it may take it again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._depth = 0
        self._descriptor = -1
        fork.watch(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock during a `with` block.

        A second thread of this index waits.
        Raises: IndexLockedError: at once, naming the holder, if another process writes, or another index
            object of this process; StorageError: if the lock cannot be taken, or the block ran out of memory.
        """
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
                # Unlock explicitly: a child that was forked meanwhile may still hold a copy of the
                # descriptor, and with it the lock.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
                self._close()

    def lock_for_fork(self) -> None:
        """Wait for nothing: a child does not need the lock, so another thread's write may go on."""

    def unlock_after_fork(self, *, in_child: bool) -> None:
        """In a child, close the copy of the descriptor: it would keep the lock when the parent dies."""
        if in_child:
            self._close()
            self._threads = threading.RLock()
            self._depth = 0

    def _close(self) -> None:
        # Clear the field before close(). Another thread could open a file that gets the same number, and fork
        # a child, which would close that file.
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
