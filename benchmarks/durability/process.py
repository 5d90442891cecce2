"""Runs one store in its engine's own interpreter: `process.py STORE ACTION FOLDER SETTINGS ARGUMENTS`.

The action `write` prints the number of each document after the call that added it has returned, until it is
killed. Every other action prints one line of JSON. It needs NumPy and the engine, but not colsearch.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

import numpy as np  # noqa: E402

from benchmarks.durability import documents  # noqa: E402

# A document counts as found if its own vectors give this share of the full score. Coarse codes keep more than
# this share, and every other document has far less.
NEARLY = 0.8
BEYOND = 1_000_000


def create(adapter: ModuleType, folder: Path, *, n_docs: int, distribution: str) -> dict[str, Any]:
    adapter.create(folder, [documents.vectors(number) for number in range(n_docs)])
    return {"version": metadata.version(distribution)}


def write(adapter: ModuleType, folder: Path, settings: dict[str, Any], *, first: int, n_docs: int) -> None:
    """Add documents one by one; each number on standard output is an acknowledged document."""
    acknowledged = _only_replies()
    store = adapter.Store(folder, **settings)
    for number in range(first, first + n_docs):
        store.add(number, documents.vectors(number))
        os.write(acknowledged, f"{number}\n".encode())


def inspect(
    adapter: ModuleType, folder: Path, settings: dict[str, Any], *, numbers: Sequence[int]
) -> dict[str, Any]:
    """Open the index, look up these documents, then add another one."""
    try:
        store = adapter.Store(folder, **settings)
    except BaseException as error:  # noqa: BLE001 - a Rust panic is no Exception; any error is the finding
        return {"opens": False, "error": _said(error)}
    found: dict[str, Any] = {"opens": True, **judged(store, numbers, adapter.FULL_SCORE)}
    try:
        store.add(BEYOND, documents.vectors(BEYOND))
        _, [score] = store.search(documents.vectors(BEYOND), 1)
        found["writes"] = score >= NEARLY * adapter.FULL_SCORE
    except BaseException as error:  # noqa: BLE001
        found |= {"writes": False, "error": _said(error)}
    return found


def judged(store: Any, numbers: Sequence[int], full_score: float) -> dict[str, Any]:
    """The documents that are lost, those with a wrong id, and the errors that searches raised.

    Args:
        full_score: the score of a document for its own vectors.
    """
    lost, wrong, errors = [], [], []
    for number in numbers:
        try:
            ids, scores = store.search(documents.vectors(number), 1)
        except BaseException as error:  # noqa: BLE001
            errors.append(_said(error))
            continue
        nearly = bool(scores) and scores[0] >= NEARLY * full_score
        if not nearly:
            lost.append(number)
        elif ids[0] != number:
            wrong.append(number)
    return {"lost": lost, "wrong": wrong, "errors": errors}


def spoil(
    adapter: ModuleType, folder: Path, settings: dict[str, Any], *, numbers: Sequence[int], n_docs: int
) -> dict[str, Any]:
    """Add a document with a NaN in its vectors; report whether it is refused and which answers changed."""
    store = adapter.Store(folder, **settings)
    before = [store.search(documents.vectors(number), 3) for number in numbers]
    refused = None
    try:
        store.add(n_docs, documents.with_nan(n_docs))
    except BaseException as error:  # noqa: BLE001
        refused = _said(error)
    store = adapter.Store(folder, **settings)
    changed = []
    for number, (_, scores) in zip(numbers, before):
        try:
            ids, now = store.search(documents.vectors(number), 3)
            same = ids[0] == number and np.allclose(now[0], scores[0], rtol=1e-3)
        except BaseException as error:  # noqa: BLE001
            same, refused = False, refused or f"taken; then {_said(error)}"
        if not same:
            changed.append(number)
    return {"refused": refused, "changed": changed}


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def import_store(name: str) -> ModuleType:
    """Import a store by path under another name, since it is called like the package that it uses."""
    spec = importlib.util.spec_from_file_location(f"store_{name}", HERE / "stores" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"no store {name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _only_replies() -> int:
    """A descriptor for replies to the parent; the output of libraries is sent to standard error."""
    replies = os.dup(1)
    os.dup2(2, 1)
    return replies


def main(store: str, action: str, folder: str, settings: str, arguments: str) -> None:
    adapter, options = import_store(store), json.loads(arguments)
    if action == "write":
        write(adapter, Path(folder), json.loads(settings), **options)
        return
    replies = _only_replies()
    if action == "create":
        answer = create(adapter, Path(folder), **options)
    else:
        answer = {"inspect": inspect, "spoil": spoil}[action](
            adapter, Path(folder), json.loads(settings), **options
        )
    os.write(replies, json.dumps(answer).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
