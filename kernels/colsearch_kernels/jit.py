"""How this package compiles: lazily, cached on disk where a folder can be written, without the GIL."""

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import event
from numba.core.compiler_lock import global_compiler_lock

F = TypeVar("F", bound=Callable[..., Any])
_log = logging.getLogger("colsearch_kernels")
_PATIENCE_SECONDS = 1.0


def kernel(function: F) -> F:
    """Compile at first call, strictly IEEE (no fastmath: the same bits on every CPU), GIL released."""
    # Numba's cache sees edits in the function's own file only, and nothing of the tier; its file names
    # hold the qualified name, so a name with a hash of both can never meet a stale entry.
    function.__qualname__ = f"{function.__qualname__}-{_salt()}"
    try:
        compiled: Any = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        # Numba found no folder that it can write a cache to; every process then compiles anew.
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    else:
        _forgive_failed_writes(compiled)
    _OURS.add(compiled.py_func)
    found: F = compiled
    return found


def _forgive_failed_writes(compiled: Any) -> None:
    """A disk that is full, or a folder that is gone, when the code is compiled, is no reason not to run it."""
    save = compiled._cache.save_overload

    def save_if_possible(*arguments: Any) -> None:
        try:
            save(*arguments)
        except OSError as error:
            _log.warning("compiled code could not be cached, the next process compiles anew: %s", error)

    compiled._cache.save_overload = save_if_possible


@lru_cache(maxsize=1)
def _salt() -> str:
    from colsearch_kernels.tiers import target_features, tier

    # Of the features, bfloat16's is no tier of its own, and a forced processor name may hide it.
    digest = hashlib.sha256(" ".join([tier().name, *sorted(target_features())]).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class _Announcer(event.Listener):  # type: ignore[misc, unused-ignore]
    """Says so when the first call of a kernel takes long; a first call that only reads the cache does not."""

    def __init__(self) -> None:
        self._timers: dict[int, threading.Timer] = {}

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"].py_func in _OURS:
            timer = threading.Timer(_PATIENCE_SECONDS, _log.warning, [_MESSAGE])
            timer.daemon = True
            self._timers[id(event.data["dispatcher"])] = timer
            timer.start()

    def on_end(self, event: Any) -> None:
        timer = self._timers.pop(id(event.data["dispatcher"]), None)
        if timer:
            timer.cancel()


_MESSAGE = "compiling kernels for this processor: a few seconds, once; then they are cached"
_OURS: set[Any] = set()
event.register("numba:compile", _Announcer())
if hasattr(os, "register_at_fork"):
    # A fork waits for a kernel that another thread compiles or loads: in the child, nobody would free the lock.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
