"""One immutable file of named arrays with a checksum for every 4 KiB block; FORMAT.md has the bytes.

Segments, prefilter files and models all are containers. A container is written once, named by the hash of
its header (which covers the checksums of everything else), and never changed.
"""

import errno
import json
import mmap
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xxhash
from numpy.typing import DTypeLike, NDArray

from colsearch.errors import DamagedError, FormatError, StorageError
from colsearch.store import files
from colsearch_kernels.layout.ragged import indices_of_ranges

MAGIC = b"COLSEG\r\n"
FORMAT_VERSION = 1
BLOCK_BYTES = 4096
FIXED_BYTES = 32
# Room for the header: its JSON names a dozen sections in about 2 KiB.
HEADER_BYTES = 4 * BLOCK_BYTES
# Below this a container is verified whole when it is opened.
VERIFY_AT_OPEN_BYTES = 64 << 20
# Of a larger one, what is checked in one go: 64 MB, which then leave this process's memory.
_BLOCKS_AT_ONCE = (64 << 20) // BLOCK_BYTES
# Of opening a link or a socket; any other refusal says nothing about what the file holds.
_NOT_A_FILE = frozenset({errno.ELOOP, errno.ENXIO})
DTYPES = frozenset({"|u1", "<u2", "<i2", "<i4", "<i8", "<f4", "<u8"})

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Section:
    """An array to be written: its shape is known before its bytes are made."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: Callable[[], Iterable[Array]]

    @classmethod
    def of(cls, name: str, array: Array) -> "Section":
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        return cls(name, little.dtype.str, little.shape, lambda: [little])

    @property
    def n_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def write(folder: Path, suffix: str, sections: Sequence[Section], meta: dict[str, Any]) -> tuple[str, int]:
    """Write, fsync and publish a container; returns its file name and its size in bytes.

    Raises: StorageError: if the operating system refuses; nothing is left behind.
    """
    table, offset = [], HEADER_BYTES
    for section in sections:
        table.append({"name": section.name, "dtype": section.dtype, "shape": section.shape, "offset": offset})
        offset = _aligned(offset + section.n_bytes)
    sums = _Checksums()
    name = ""

    def body() -> Iterator[memoryview]:
        for section in sections:
            yield from sums.padded(section)
        yield memoryview(sums.array().tobytes())

    def head() -> bytes:
        nonlocal name
        block_sums = sums.array()
        header = {
            "sections": table,
            "checksums": {"offset": offset, "n_blocks": len(block_sums), "xxh3": _hash(block_sums)},
            "meta": meta,
        }
        encoded = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
        if len(encoded) > HEADER_BYTES - FIXED_BYTES:
            raise StorageError(None, f"container header of {len(encoded)} bytes does not fit")
        name = xxhash.xxh3_128_hexdigest(encoded) + suffix
        fixed = np.array([FORMAT_VERSION, len(encoded)], "<u4").tobytes() + _digest(encoded)
        return (MAGIC + fixed).ljust(FIXED_BYTES, b"\0") + encoded

    # A name of its own: what a failing disk did not let us remove may still be there.
    temporary = folder / f"{os.getpid():x}-{secrets.token_hex(8)}.tmp"
    files.write_file(temporary, body(), head_bytes=HEADER_BYTES, head=head)
    n_bytes = temporary.stat().st_size
    files.publish(temporary, folder / name)
    return name, n_bytes


class Container:
    """A container mapped into memory; every array is read-only and is verified before it is believed.

    Raises: DamagedError: if the file is not what was written; FormatError: if it is of a newer version;
        StorageError: if the operating system refuses, for want of memory or descriptors for instance.
    """

    def __init__(self, path: Path, *, verify: str = "auto") -> None:
        self.path = path
        self._map = _mapped(path)
        self._view = memoryview(self._map)
        self._bytes = np.frombuffer(self._map, np.uint8)
        header = self._header()
        self.meta: dict[str, Any] = header["meta"]
        self._sections: dict[str, tuple[int, int, np.dtype[Any], tuple[int, ...]]] = {}
        try:
            self._read_table(header)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedError(f"{path}: malformed header ({error}); run `colsearch check`") from None
        # One byte a block, and the same bytes as an array.
        self._flags = bytearray(len(self._sums))
        self._verified = np.frombuffer(self._flags, np.bool_)
        if verify == "off":
            self._verified[:] = True
        elif verify == "full" or len(self._bytes) <= VERIFY_AT_OPEN_BYTES:
            self._check_blocks(np.arange(len(self._sums)))
        self._all_verified = bool(self._verified.all())

    def __contains__(self, name: str) -> bool:
        return name in self._sections

    @property
    def n_bytes(self) -> int:
        return len(self._bytes)

    @property
    def all_verified(self) -> bool:
        """Whether every block has been checked, so that `verify` has nothing left to do."""
        return self._all_verified

    def section_bytes(self) -> dict[str, int]:
        """Bytes of each section."""
        return {name: n_bytes for name, (_, n_bytes, _, _) in self._sections.items()}

    def array(
        self, name: str, dtype: DTypeLike, shape: tuple[int | None, ...], *, lazy: bool = False
    ) -> Array:
        """The section, if it has this dtype and shape (None fits any length); lazy leaves it unverified."""
        if name not in self._sections:
            raise DamagedError(f"{self.path}: section {name!r} is missing")
        offset, n_bytes, found, found_shape = self._sections[name]
        fits = len(shape) == len(found_shape) and all(w in (None, f) for w, f in zip(shape, found_shape))
        if found != np.dtype(dtype) or not fits:
            raise DamagedError(
                f"{self.path}: section {name!r} is {found.str} {found_shape}, not {np.dtype(dtype).str} {shape}"
            )
        if not lazy:
            self.verify(name, 0, n_bytes)
        return self._bytes[offset : offset + n_bytes].view(found).reshape(found_shape)

    def rows(self, name: str) -> Array:
        """The section, verified, whatever its dtype and shape."""
        _, _, dtype, shape = self._sections[name]
        return self.array(name, dtype, shape)

    def verify(self, name: str, start: int, stop: int) -> None:
        """Check the blocks that hold bytes start..stop of a section, unless that was done before."""
        if not self._all_verified and stop > start:
            first = (self._sections[name][0] - HEADER_BYTES + start) // BLOCK_BYTES
            last = (self._sections[name][0] - HEADER_BYTES + stop - 1) // BLOCK_BYTES
            if self._flags.find(0, first, last + 1) >= 0:
                self._check_blocks(first + np.flatnonzero(~self._verified[first : last + 1]))

    def verify_rows(
        self, name: str, starts: NDArray[np.int64], stops: NDArray[np.int64], row_bytes: int
    ) -> None:
        """`verify` for many row ranges at once."""
        if self._all_verified or not len(starts):
            return
        base = self._sections[name][0] - HEADER_BYTES
        first = (base + starts * row_bytes) // BLOCK_BYTES
        last = np.maximum((base + stops * row_bytes - 1) // BLOCK_BYTES, first - 1)
        blocks = indices_of_ranges(first, last - first + 1)
        blocks = blocks[blocks < len(self._verified)]
        self._check_blocks(np.unique(blocks[~self._verified[blocks]]))

    def release(self) -> None:
        """Take what was read of the file out of this process's memory; reading on brings it back from the cache."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def damaged_blocks(self) -> list[int]:
        """Numbers of the blocks whose checksum is wrong, all of them looked at."""
        blocks = np.arange(len(self._sums))
        wrong: list[int] = blocks[self._block_sums(blocks) != self._sums].tolist()
        return wrong

    def first_block(self, name: str) -> int:
        """Number of the section's first block."""
        return (self._sections[name][0] - HEADER_BYTES) // BLOCK_BYTES

    def section_of(self, block: int) -> str:
        """The section that a block belongs to."""
        position = HEADER_BYTES + block * BLOCK_BYTES
        inside = [
            name for name, (offset, n, _, _) in self._sections.items() if offset <= position < offset + n
        ]
        return inside[0] if inside else "padding"

    def _check_blocks(self, blocks: NDArray[np.int64]) -> None:
        for first in range(0, len(blocks), _BLOCKS_AT_ONCE):
            some = blocks[first : first + _BLOCKS_AT_ONCE]
            wrong = some[self._block_sums(some) != self._sums[some]]
            if len(wrong):
                block = int(wrong[0])
                raise DamagedError(
                    f"{self.path}: block {block} (section {self.section_of(block)!r}) does not match its "
                    "checksum; restore the file, or run `colsearch check --repair` to keep what is good"
                )
            self._verified[some] = True
            if len(some) == _BLOCKS_AT_ONCE:
                self.release()
        self._all_verified = bool(self._verified.all())

    def _block_sums(self, blocks: NDArray[np.int64]) -> NDArray[np.uint64]:
        digest, view = xxhash.xxh3_64_intdigest, self._view
        starts = (HEADER_BYTES + blocks * BLOCK_BYTES).tolist()
        return np.array([digest(view[start : start + BLOCK_BYTES]) for start in starts], np.uint64)

    def _header(self) -> dict[str, Any]:
        head = self._bytes[:HEADER_BYTES].tobytes()
        if len(head) < HEADER_BYTES or head[:8] != MAGIC:
            raise DamagedError(f"{self.path}: not a colsearch container, or cut short")
        version, n_bytes = (int(x) for x in np.frombuffer(head, "<u4", 2, 8))
        if version > FORMAT_VERSION:
            raise FormatError(
                f"{self.path} has format {version}, this release reads up to {FORMAT_VERSION}; upgrade colindex"
            )
        encoded = head[FIXED_BYTES : FIXED_BYTES + n_bytes]
        padding = head[24:FIXED_BYTES] + head[FIXED_BYTES + n_bytes :]
        if head[16:24] != _digest(encoded) or padding.strip(b"\0"):
            raise DamagedError(f"{self.path}: the header does not match its checksum")
        if version != FORMAT_VERSION or self.path.stem != xxhash.xxh3_128_hexdigest(encoded):
            raise DamagedError(f"{self.path}: the file's name is not the hash of its header; was it swapped?")
        try:
            header = json.loads(encoded)
        except (ValueError, RecursionError):
            raise DamagedError(f"{self.path}: the header is not JSON") from None
        if not isinstance(header, dict) or not isinstance(header.get("meta"), dict):
            raise DamagedError(f"{self.path}: malformed header")
        return header

    def _read_table(self, header: dict[str, Any]) -> None:
        end = HEADER_BYTES
        for entry in header["sections"]:
            if entry["dtype"] not in DTYPES or any(type(n) is not int or n < 0 for n in entry["shape"]):
                raise ValueError(f"section {entry['name']!r}")
            dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
            n_bytes = dtype.itemsize
            for n in shape:
                n_bytes *= n
            if entry["offset"] != end or end + n_bytes > len(self._bytes) or entry["name"] in self._sections:
                raise ValueError(f"section {entry['name']!r}")
            self._sections[entry["name"]] = (end, n_bytes, dtype, shape)
            end = _aligned(end + n_bytes)
        sums = header["checksums"]
        n_blocks = (end - HEADER_BYTES) // BLOCK_BYTES
        if sums["offset"] != end or sums["n_blocks"] != n_blocks or len(self._bytes) != end + 8 * n_blocks:
            raise ValueError("file size")
        self._sums = self._bytes[end:].view("<u8")
        if _hash(self._sums) != sums["xxh3"]:
            raise ValueError("checksums of the checksums")


class _Checksums:
    """xxh3 of each 4 KiB block of a stream of chunks."""

    def __init__(self) -> None:
        self._sums: list[int] = []

    def padded(self, section: Section) -> Iterator[memoryview]:
        """The bytes of the section, rounded up to whole blocks with zeros."""
        rest, n_bytes = b"", 0
        for chunk in section.chunks():
            data = np.ascontiguousarray(chunk, section.dtype).reshape(-1).view(np.uint8).data
            n_bytes += len(data)
            if rest:
                missing = BLOCK_BYTES - len(rest)
                rest += data[:missing]
                data = data[missing:]
                if len(rest) < BLOCK_BYTES:
                    continue
                yield self._summed(memoryview(rest))
            whole = len(data) // BLOCK_BYTES * BLOCK_BYTES
            yield self._summed(data[:whole])
            rest = bytes(data[whole:])
        if n_bytes != section.n_bytes:
            raise ValueError(
                f"section {section.name!r}: {n_bytes} bytes came, {section.n_bytes} were announced"
            )
        if rest:
            yield self._summed(memoryview(rest.ljust(BLOCK_BYTES, b"\0")))

    def _summed(self, data: memoryview) -> memoryview:
        self._sums += [
            xxhash.xxh3_64_intdigest(data[i : i + BLOCK_BYTES]) for i in range(0, len(data), BLOCK_BYTES)
        ]
        return data

    def array(self) -> NDArray[np.uint64]:
        return np.array(self._sums, "<u8")


def _aligned(offset: int) -> int:
    return -(-offset // BLOCK_BYTES) * BLOCK_BYTES


def _hash(array: Array) -> str:
    return str(xxhash.xxh3_64_hexdigest(array.tobytes()))


def _digest(data: bytes) -> bytes:
    return bytes(xxhash.xxh3_64_digest(data))


def _mapped(path: Path) -> mmap.mmap:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise DamagedError(f"{path}: cannot be opened as a plain file ({error.strerror})") from None
        raise StorageError(error.errno, f"cannot open {path}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size < HEADER_BYTES:
            raise DamagedError(f"{path}: not a plain file of at least {HEADER_BYTES} bytes")
        return mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise StorageError(error.errno, f"cannot map {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
