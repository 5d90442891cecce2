"""One immutable file of named arrays with a checksum for every 4 KiB block; FORMAT.md has the bytes.

Segments, prefilter files and models all are containers. A container is written once and never changed. Its
name is the hash of its header, which covers the checksums of everything else.
"""

import json
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
CONTAINER_VERSION = 1
BLOCK_BYTES = 4096
FIXED_BYTES = 32
# The header has this much room; its JSON names a dozen sections in about 2 KiB.
HEADER_BYTES = 4 * BLOCK_BYTES
# A container of at most this size is verified as a whole when it is opened.
VERIFY_AT_OPEN_BYTES = 64 << 20
# A larger one is checked in pieces of 64 MiB, and each piece then leaves this process's memory.
_BLOCKS_PER_PIECE = (64 << 20) // BLOCK_BYTES
DTYPES = frozenset({"|u1", "<u2", "<i2", "<i4", "<i8", "<f4", "<u8"})

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Section:
    """An array to be written: dtype and shape are stated before its chunks are computed."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: Callable[[], Iterable[Array]]

    @classmethod
    def of(cls, name: str, array: Array) -> "Section":
        """A section that holds an array which is in memory."""
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        return cls(name, little.dtype.str, little.shape, lambda: [little])

    @property
    def n_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def write(folder: Path, suffix: str, sections: Sequence[Section], meta: dict[str, Any]) -> tuple[str, int]:
    """Write, fsync and publish a container; returns its file name and its size in bytes.

    Raises: StorageError: if the operating system refuses; nothing is left behind.
    """
    sums = _Checksums()
    temporary = files.temporary_path(folder)
    with files.new_file(temporary) as file:
        # The header holds checksums of what follows it, so its room is filled last.
        file.write(bytes(HEADER_BYTES))
        for section in sections:
            for blocks in sums.padded(section):
                file.write(blocks)
        file.write(sums.array().tobytes())
        header = _encoded_header(sections, sums.array(), meta)
        file.seek(0)
        file.write(_fixed_fields(header) + header)
    name = xxhash.xxh3_128_hexdigest(header) + suffix
    n_bytes = files.size_bytes(temporary)
    files.publish(temporary, folder / name)
    return name, n_bytes


def _encoded_header(sections: Sequence[Section], sums: NDArray[np.uint64], meta: dict[str, Any]) -> bytes:
    """The JSON of a header: where the sections and the checksums are, and a checksum of the checksums."""
    table, offset = [], HEADER_BYTES
    for section in sections:
        table.append({"name": section.name, "dtype": section.dtype, "shape": section.shape, "offset": offset})
        offset = _aligned(offset + section.n_bytes)
    header = {
        "sections": table,
        "checksums": {"offset": offset, "n_blocks": len(sums), "xxh3": _hash(sums)},
        "meta": meta,
    }
    encoded = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    if len(encoded) > HEADER_BYTES - FIXED_BYTES:
        raise StorageError(None, f"container header of {len(encoded)} bytes does not fit")
    return encoded


def _fixed_fields(header: bytes) -> bytes:
    """The first bytes of a file: the magic, the version, and the header's length and checksum."""
    fields = np.array([CONTAINER_VERSION, len(header)], "<u4").tobytes() + _digest(header)
    return (MAGIC + fields).ljust(FIXED_BYTES, b"\0")


class Container:
    """A container mapped into memory; every array is read-only, and is verified before anything relies on it.

    Attributes:
        path: the file.
        meta: the JSON that was written with the arrays.
        all_verified: whether every block has been checked, so that `verify` has nothing left to do.
    """

    def __init__(self, path: Path, *, verify: str = "auto") -> None:
        """Open a file.

        Args:
            verify: "full" checks every block now; "off" never checks any; "auto" checks a file of at most
                VERIFY_AT_OPEN_BYTES now, and a larger one where it is first read.
        Raises: FileNotFoundError; DamagedError: if the file is not what was written; FormatError: if a newer
            version wrote it; StorageError: if the operating system refuses, for want of memory for instance.
        """
        self.path = path
        self._map = files.map_file(path, min_bytes=HEADER_BYTES)
        self._view = memoryview(self._map)
        self._bytes = np.frombuffer(self._map, np.uint8)
        header = self._header()
        self.meta: dict[str, Any] = header["meta"]
        self._sections: dict[str, tuple[int, int, np.dtype[Any], tuple[int, ...]]] = {}
        try:
            self._read_table(header)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedError(f"{path}: malformed header ({error}); run `colsearch check`") from None
        # One byte per block. The bytearray finds a flag among few blocks faster; the array, which shares its
        # memory, serves many.
        self._flags = bytearray(len(self._sums))
        self._verified = np.frombuffer(self._flags, np.bool_)
        if verify == "off":
            self._verified[:] = True
        elif verify == "full" or len(self._bytes) <= VERIFY_AT_OPEN_BYTES:
            self._check_blocks(np.arange(len(self._sums)))
        self.all_verified = bool(self._verified.all())

    def __contains__(self, name: str) -> bool:
        return name in self._sections

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return len(self._bytes)

    def section_bytes(self) -> dict[str, int]:
        """Bytes of each section."""
        return {name: n_bytes for name, (_, n_bytes, _, _) in self._sections.items()}

    def array(
        self, name: str, dtype: DTypeLike, shape: tuple[int | None, ...], *, lazy: bool = False
    ) -> Array:
        """A section as an array.

        Args:
            shape: None fits any length.
            lazy: leave it unverified; the caller verifies the parts that it reads.
        Raises: DamagedError: if it is missing, or has another dtype or shape, or a wrong checksum.
        """
        if name not in self._sections:
            raise DamagedError(f"{self.path}: section {name!r} is missing")
        offset, n_bytes, found_dtype, found_shape = self._sections[name]
        fits = len(shape) == len(found_shape) and all(
            expected in (None, found) for expected, found in zip(shape, found_shape)
        )
        if found_dtype != np.dtype(dtype) or not fits:
            raise DamagedError(
                f"{self.path}: section {name!r} is {found_dtype.str} {found_shape}, "
                f"not {np.dtype(dtype).str} {shape}"
            )
        if not lazy:
            self.verify(name, 0, n_bytes)
        return self._bytes[offset : offset + n_bytes].view(found_dtype).reshape(found_shape)

    def rows(self, name: str) -> Array:
        """A section, verified, of any dtype and shape."""
        _, _, dtype, shape = self._sections[name]
        return self.array(name, dtype, shape)

    def verify(self, name: str, start: int, stop: int) -> None:
        """Check the blocks that hold bytes start..stop of a section, unless they were checked before.

        Raises: DamagedError: naming the first block whose checksum is wrong.
        """
        self.verify_ranges([(name, start, stop)])

    def verify_ranges(self, ranges: Iterable[tuple[str, int, int]]) -> None:
        """`verify` for ranges (section, start, stop) of several sections."""
        if self.all_verified:
            return
        for name, start, stop in ranges:
            base = self._sections[name][0] - HEADER_BYTES
            first, last = (base + start) // BLOCK_BYTES, (base + stop - 1) // BLOCK_BYTES
            if stop > start and self._flags.find(0, first, last + 1) >= 0:
                self._check_blocks(first + np.flatnonzero(~self._verified[first : last + 1]))

    def verify_rows(
        self, name: str, starts: NDArray[np.int64], stops: NDArray[np.int64], row_bytes: int
    ) -> None:
        """`verify` for many ranges of rows of one section.

        Args:
            starts, stops: (n,) int64 row numbers.
        """
        if self.all_verified or not len(starts):
            return
        base = self._sections[name][0] - HEADER_BYTES
        first = (base + starts * row_bytes) // BLOCK_BYTES
        last = np.maximum((base + stops * row_bytes - 1) // BLOCK_BYTES, first - 1)
        blocks = indices_of_ranges(first, last - first + 1)
        blocks = blocks[blocks < len(self._verified)]
        self._check_blocks(np.unique(blocks[~self._verified[blocks]]))

    def release(self) -> None:
        """Remove the file's pages from this process's memory; the next read brings them back."""
        files.release_pages(self._map)

    def damaged_blocks(self) -> list[int]:
        """Numbers of the blocks whose checksum is wrong; every block is read."""
        blocks = np.arange(len(self._sums))
        wrong: list[int] = blocks[self._block_sums(blocks) != self._sums].tolist()
        return wrong

    def first_block(self, name: str) -> int:
        """Number of the section's first block."""
        return (self._sections[name][0] - HEADER_BYTES) // BLOCK_BYTES

    def section_of(self, block: int) -> str:
        """Name of the section that a block belongs to, or "padding"."""
        position = HEADER_BYTES + block * BLOCK_BYTES
        inside = [
            name for name, (offset, n, _, _) in self._sections.items() if offset <= position < offset + n
        ]
        return inside[0] if inside else "padding"

    def _check_blocks(self, blocks: NDArray[np.int64]) -> None:
        for first in range(0, len(blocks), _BLOCKS_PER_PIECE):
            piece = blocks[first : first + _BLOCKS_PER_PIECE]
            wrong = piece[self._block_sums(piece) != self._sums[piece]]
            if len(wrong):
                block = int(wrong[0])
                raise DamagedError(
                    f"{self.path}: block {block} (section {self.section_of(block)!r}) does not match its "
                    "checksum; restore the file, or run `colsearch check --repair` to keep what is good"
                )
            self._verified[piece] = True
            if len(piece) == _BLOCKS_PER_PIECE:
                self.release()
        self.all_verified = bool(self._verified.all())

    def _block_sums(self, blocks: NDArray[np.int64]) -> NDArray[np.uint64]:
        digest, view = xxhash.xxh3_64_intdigest, self._view
        starts = (HEADER_BYTES + blocks * BLOCK_BYTES).tolist()
        return np.array([digest(view[start : start + BLOCK_BYTES]) for start in starts], np.uint64)

    def _header(self) -> dict[str, Any]:
        head = self._bytes[:HEADER_BYTES].tobytes()
        if len(head) < HEADER_BYTES or head[:8] != MAGIC:
            raise DamagedError(f"{self.path}: not a colsearch container, or cut short")
        version, n_bytes = (int(x) for x in np.frombuffer(head, "<u4", 2, 8))
        if version > CONTAINER_VERSION:
            raise FormatError(
                f"{self.path} has format {version}, this release reads up to {CONTAINER_VERSION}; "
                "upgrade colindex"
            )
        encoded = head[FIXED_BYTES : FIXED_BYTES + n_bytes]
        padding = head[24:FIXED_BYTES] + head[FIXED_BYTES + n_bytes :]
        if head[16:24] != _digest(encoded) or padding.strip(b"\0"):
            raise DamagedError(f"{self.path}: the header does not match its checksum")
        if version != CONTAINER_VERSION or self.path.stem != xxhash.xxh3_128_hexdigest(encoded):
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
    """The xxh3 checksum of each 4 KiB block of a stream of chunks."""

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
        """(n_blocks,) little-endian uint64, of all blocks so far."""
        return np.array(self._sums, "<u8")


def _aligned(offset: int) -> int:
    return -(-offset // BLOCK_BYTES) * BLOCK_BYTES


def _hash(array: Array) -> str:
    return str(xxhash.xxh3_64_hexdigest(array.tobytes()))


def _digest(data: bytes) -> bytes:
    return bytes(xxhash.xxh3_64_digest(data))
