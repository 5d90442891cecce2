"""Damage to the files of an index, as disks, bad copies and people cause it; a seed draws each case."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 4096
SQLITE = "index.sqlite"
Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Damage:
    """One case.

    Attributes:
        kind: how the file was damaged.
        name: name of the file.
        detail: place of the damage.
        content: the file afterwards; None for a file that is gone.
    """

    kind: str
    name: str
    detail: str
    content: bytes | None

    def __str__(self) -> str:
        return f"{self.kind} in {self.name} ({self.detail})"

    def apply(self, files: Files, folder: Path) -> None:
        """Write the files, this one damaged."""
        for name, content in ({**files, self.name: self.content}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content)


def read_files(folder: Path) -> dict[str, bytes]:
    """The content of every file of an index except the lock, by path in the folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "writer.lock"
    }


def draw(number: int, files: Files, stale: Files) -> Damage:
    """The case with this number; half of all cases damage SQLite's file.

    Args:
        files: the files of the index.
        stale: its files at an earlier moment.
    """
    rng = random.Random(number)
    others = sorted(name for name in files if name != SQLITE)
    while True:
        name = SQLITE if rng.random() < 0.5 else rng.choice(others)
        kind = rng.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
        detail, content = KINDS[kind][1](rng, name, files, stale)
        if content != files[name]:
            return Damage(kind, name, detail, content)


Drawn = tuple[str, bytes | None]


def _flip(rng: random.Random, name: str, files: Files, stale: Files) -> Drawn:
    content = bytearray(files[name])
    # Much of a small file is padding, so half of the flips are made in bytes that are not zero.
    at = rng.randrange(len(content))
    if rng.random() < 0.5:
        while not content[at]:
            at = rng.randrange(len(content))
    bit = rng.randrange(8)
    content[at] ^= 1 << bit
    return f"bit {bit} of byte {at}", bytes(content)


def _block(rng: random.Random, content: bytes) -> slice:
    n_bytes = rng.choice([512, BLOCK_BYTES])
    start = rng.randrange(-(-len(content) // n_bytes)) * n_bytes
    return slice(start, min(start + n_bytes, len(content)))


def _zeroed(rng: random.Random, name: str, files: Files, stale: Files) -> Drawn:
    where = _block(rng, files[name])
    return f"{where}", _with(files[name], where, bytes(where.stop - where.start))


def _garbled(rng: random.Random, name: str, files: Files, stale: Files) -> Drawn:
    where = _block(rng, files[name])
    return f"{where}", _with(files[name], where, rng.randbytes(where.stop - where.start))


def _moved(rng: random.Random, name: str, files: Files, stale: Files) -> Drawn:
    source = rng.choice(sorted(files))
    where, origin = _block(rng, files[name]), _block(rng, files[source])
    data = files[source][origin].ljust(BLOCK_BYTES, b"\0")[: where.stop - where.start]
    return f"{where} from {origin} of {source}", _with(files[name], where, data)


def _stale_block(rng: random.Random, name: str, files: Files, stale: Files) -> Drawn:
    old = stale.get(name, files[name])
    where = _block(rng, old)
    return f"{where} as it was", _with(files[name], where, old[where])


def _cut(rng: random.Random, name: str, files: Files, stale: Files) -> Drawn:
    n_bytes = rng.choice([0, rng.randrange(len(files[name])), len(files[name]) - rng.randrange(1, 4096)])
    return f"{n_bytes} bytes left", files[name][: max(n_bytes, 0)]


def _longer(rng: random.Random, name: str, files: Files, stale: Files) -> Drawn:
    more = rng.choice([rng.randbytes(rng.randrange(1, 5000)), bytes(BLOCK_BYTES)])
    return f"{len(more)} bytes more", files[name] + more


def _swapped(rng: random.Random, name: str, files: Files, stale: Files) -> Drawn:
    other = rng.choice(sorted(files))
    return f"the content of {other}", files[other]


def _stale_file(rng: random.Random, name: str, files: Files, stale: Files) -> Drawn:
    same = [other for other in stale if Path(other).suffix == Path(name).suffix]
    other = name if name in stale else rng.choice(sorted(same) or [name])
    return f"{other} as it was", stale.get(other)


def _missing(rng: random.Random, name: str, files: Files, stale: Files) -> Drawn:
    return "gone", None


def _with(content: bytes, where: slice, data: bytes) -> bytes:
    return content[: where.start] + data + content[where.start + len(data) :]


KINDS: dict[str, tuple[int, Callable[[random.Random, str, Files, Files], Drawn]]] = {
    "bit flip": (50, _flip),
    "zeroed block": (15, _zeroed),
    "garbled block": (8, _garbled),
    "moved block": (8, _moved),
    "stale block": (5, _stale_block),
    "truncation": (6, _cut),
    "extension": (3, _longer),
    "swapped file": (2, _swapped),
    "stale file": (2, _stale_file),
    "missing file": (1, _missing),
}
