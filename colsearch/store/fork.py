"""Forking while other threads use an index.

A thread that does not exist in the child cannot free the locks that it held: Python's locks, and those that
SQLite believes its process to hold. So a fork waits until no transaction is open. Transactions are short.
"""

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """An object with locks that a fork must not copy while another thread holds them."""

    def lock_for_fork(self) -> None:
        """Wait for other threads, and keep them out until `unlock_after_fork`."""

    def unlock_after_fork(self, *, in_child: bool) -> None:
        """Let other threads in again; in the child, let go of what belongs to the parent."""


_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()
_locked: list[Forkable] = []


def watch(forkable: Forkable) -> None:
    """Call the object's methods around each fork, as long as the object lives."""
    _watched.add(forkable)


def _before() -> None:
    for forkable in list(_watched):
        forkable.lock_for_fork()
        _locked.append(forkable)


def _after_in_parent() -> None:
    while _locked:
        _locked.pop().unlock_after_fork(in_child=False)


def _after_in_child() -> None:
    while _locked:
        _locked.pop().unlock_after_fork(in_child=True)


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
