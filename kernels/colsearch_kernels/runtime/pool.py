"""One thread pool for all kernels of a process, created at first use, and again in a forked child."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels.errors import KernelInputError

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_pid = -1
# Handing a chunk to a thread costs about 20 microseconds, which is little beside a chunk of a millisecond.
CHUNK_NS = 1e6


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(chunks: list[Callable[[], None]], n_threads: int) -> None:
    """Run all chunks on up to n_threads threads, including the caller's; an error in a chunk is raised."""
    if n_threads <= 1 or len(chunks) <= 1:
        for chunk in chunks:
            chunk()
        return
    waiting = iter(chunks)
    guard = threading.Lock()

    def work() -> None:
        while True:
            with guard:
                chunk = next(waiting, None)
            if chunk is None:
                return
            chunk()

    # The caller works too, so a busy pool can delay it but never block it.
    helpers = [_executor().submit(work) for _ in range(min(n_threads, len(chunks)) - 1)]
    work()
    for helper in helpers:
        if not helper.cancel():
            helper.result()


def run_beside(work: Callable[[], None], n_threads: int) -> None:
    """Run work on the caller's thread and on up to n_threads - 1 helpers, which may still run when this returns.

    Errors of helpers are lost, so the caller's own run must get all of the work done.
    """
    helpers = [_executor().submit(work) for _ in range(n_threads - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.cancel()


def run_documents(
    score: Callable[[int, int], None], doclens: NDArray[np.int64], *, ns_per_token: float, n_threads: int
) -> None:
    """Run score(first, last) over all documents, in chunks of a millisecond or more if there are threads."""
    if n_threads < 1:
        raise KernelInputError(f"n_threads must be at least 1, not {n_threads}")
    if n_threads == 1 or not len(doclens):
        score(0, len(doclens))
        return
    ends = np.cumsum(doclens)
    # With four chunks per thread, other threads take over the chunks of a thread that has lost its core.
    per_chunk = max(CHUNK_NS / ns_per_token, ends[-1] / (4 * n_threads))
    cuts = np.searchsorted(ends, np.arange(per_chunk, ends[-1], per_chunk))
    bounds = sorted({0, len(doclens), *(int(cut) for cut in cuts)})
    run([partial(score, first, last) for first, last in pairwise(bounds)], n_threads)


def _executor() -> ThreadPoolExecutor:
    global _pool, _pool_pid
    with _lock:
        if _pool is None or _pool_pid != os.getpid():
            _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="colsearch")
            _pool_pid = os.getpid()
        return _pool


def _after_fork() -> None:
    global _lock
    # The parent may have held the lock at the moment of the fork.
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
