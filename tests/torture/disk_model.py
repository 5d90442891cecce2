"""The states that POSIX allows a disk to be in after a power cut, given the calls made before it.

A write lasts only once its file was fsynced; until then each of its 4 KiB blocks is there, or not, or in part,
independently of all others. A change of a name (created, renamed, removed) lasts only once its folder was
fsynced. Until then, either the first few changes of a folder are there, or any selection of them. SQLite's
file and journal are treated like all other files.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.torture.oplog import Op

BLOCK_BYTES = 4096
SECTOR_BYTES = 512
FOLDER = -1


@dataclass(slots=True)
class _File:
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: cut at this size

    def content(self, chosen: Sequence[tuple[int, bytes | None]]) -> bytes:
        content = bytearray(self.durable)
        for offset, data in chosen:
            if data is None:
                del content[offset:]
            if len(content) < offset:
                content += bytes(offset - len(content))
            if data is not None:
                content[offset : offset + len(data)] = data
        return bytes(content)


class Disk:
    """A folder on a disk: the state that is certain to survive, and the changes that may be lost."""

    def __init__(self, folder: Path) -> None:
        self._files: list[_File] = []
        self._durable: dict[str, int] = {}
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            self._durable[name] = FOLDER if path.is_dir() else self._add(_File(path.read_bytes()))
        self._names = dict(self._durable)
        self._pending: dict[str, list[dict[str, int | None]]] = {}

    def apply(self, op: Op) -> None:
        """Take one recorded change."""
        if op.kind == "mkdir":
            self._rename_all(op.path, {op.path: FOLDER})
        elif op.kind == "create":
            self._rename_all(op.path, {op.path: self._add(_File())})
        elif op.kind == "unlink":
            self._rename_all(op.path, {op.path: None})
        elif op.kind == "rename":
            assert _parent(op.path) == _parent(op.target), "a rename between folders is not modelled"
            self._rename_all(op.path, {op.target: self._names[op.path], op.path: None})
        elif op.kind == "write":
            self._files[self._names[op.path]].pending.append((op.offset, op.data))
        elif op.kind == "truncate":
            self._files[self._names[op.path]].pending.append((op.offset, None))
        elif op.kind == "fsync":
            self._fsync(op.path)

    def crash(self, rng: random.Random, folder: Path) -> None:
        """Write one of the states that may be found after a power cut now."""
        names = dict(self._durable)
        for changes in self._pending.values():
            for change in _some(changes, rng):
                names.update(change)
        for name, number in sorted(names.items(), key=lambda item: item[0].count("/")):
            path = folder / name
            if number is None or not path.parent.is_dir():
                continue
            if number == FOLDER:
                path.mkdir()
            else:
                file = self._files[number]
                path.write_bytes(file.content(_some(_torn(file.pending, rng), rng)))

    def _fsync(self, path: str) -> None:
        number = FOLDER if path == "." else self._names[path]
        if number != FOLDER:
            file = self._files[number]
            file.durable, file.pending = file.content(file.pending), []
            return
        for change in self._pending.pop(path, []):
            self._durable.update(change)

    def _rename_all(self, path: str, change: dict[str, int | None]) -> None:
        self._pending.setdefault(_parent(path), []).append(change)
        self._names.update(change)
        self._names = {name: number for name, number in self._names.items() if number is not None}

    def _add(self, file: _File) -> int:
        self._files.append(file)
        return len(self._files) - 1


def _parent(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _torn(pending: list[tuple[int, bytes | None]], rng: random.Random) -> list[tuple[int, bytes | None]]:
    """Writes as blocks, some of them cut at a sector."""
    blocks: list[tuple[int, bytes | None]] = []
    for offset, data in pending:
        if data is None:
            blocks.append((offset, None))
            continue
        at = 0
        while at < len(data):
            n_bytes = BLOCK_BYTES - (offset + at) % BLOCK_BYTES
            block = data[at : at + n_bytes]
            if rng.random() < 0.05:
                block = block[: SECTOR_BYTES * rng.randrange(1, 9) - (offset + at) % SECTOR_BYTES]
            blocks.append((offset + at, block))
            at += n_bytes
    return blocks


def _some(changes: list, rng: random.Random) -> list:
    """None, all, the first few, or any selection of the changes, in their order."""
    kind = rng.randrange(4)
    if kind == 0:
        return []
    if kind == 1:
        return changes
    if kind == 2:
        return changes[: rng.randrange(len(changes) + 1)]
    share = rng.random()
    return [change for change in changes if rng.random() < share]
