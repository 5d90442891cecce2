"""Forking while other threads use an index.

A thread that is not there in the child cannot free the locks that it held: Python's, and those that SQLite
believes its process to hold. So a fork waits until no transaction is open; a transaction is short.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colsearch.store.store import Store

_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_waiting: list[Store] = []


def watch(store: Store) -> None:
    """Let forks wait for this store's transactions, as long as the store lives."""
    _stores.add(store)


def _before() -> None:
    for store in list(_stores):
        store.lock_for_fork()
        _waiting.append(store)


def _after_in_parent() -> None:
    while _waiting:
        _waiting.pop().unlock_after_fork()


def _after_in_child() -> None:
    while _waiting:
        store = _waiting.pop()
        store.unlock_after_fork()
        store.drop_writer_lock()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
