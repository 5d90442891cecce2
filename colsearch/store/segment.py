"""Reading a segment: documents' codes, ids, texts, metadata and spans in one container."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colsearch.errors import DamagedError
from colsearch.store import container, stored_json
from colsearch.store.container import Container
from colsearch.types import I32, I64, U8, DocId, Document
from colsearch_kernels.layout.codes import bad_widths
from colsearch_kernels.runtime.lazy import lazy

Settings: TypeAlias = dict[str, Any]
# The sections that hold a string of bytes per document, each beside a section of offsets.
BLOBS = ("ids", "texts", "metadata")


class Segment:
    """Documents of one immutable file, mapped into memory.

    Attributes:
        name: the file's name, a hash of its content.
        settings: a copy of the index's settings, without which the codes mean nothing.
        doc_nos: (n_docs,) int64, ascending insertion numbers.
        offsets: (n_docs + 1,) int64 token offsets.
        planes: code planes, each (n_tokens, row_bytes) uint8; call `verify` before reading them.
        widths: per plane (n_tokens,) uint16, the bits of a float16.
        has_text: (n_docs,) uint8, 1 for a document with a text.
        has_spans: whether the file holds character spans.
    """

    def __init__(self, path: Path, *, verify: str = "auto", any_widths: bool = False) -> None:
        """Open a file.

        Args:
            verify: as `Container` takes it.
            any_widths: accept impossible grid widths, as a repair does, which drops their documents later.
        Raises: DamagedError: if the file is no segment, or its arrays contradict each other.
        """
        self.name = path.name
        self.file = Container(path, verify=verify)
        self.settings: Settings = self.file.meta.get("settings", {})
        self.offsets: I64 = self.file.array("offsets", "<i8", (None,))
        self.doc_nos: I64 = self.file.array("doc_nos", "<i8", (None,))
        self.n_docs = len(self.doc_nos)
        if self.file.meta.get("kind") != "segment" or not isinstance(self.settings, dict) or not self.n_docs:
            raise DamagedError(f"{path} is not a segment, or has no documents")
        self._check_offsets("offsets", self.offsets)
        if self.doc_nos[0] < 0 or (self.doc_nos[1:] <= self.doc_nos[:-1]).any():
            raise DamagedError(f"{path}: document numbers do not ascend")
        self.n_tokens = int(self.offsets[-1])
        n_planes = sum(f"plane{i}" in self.file for i in range(8))
        self.planes: tuple[U8, ...] = tuple(
            self.file.array(f"plane{i}", "|u1", (self.n_tokens, None), lazy=True) for i in range(n_planes)
        )
        self.widths: tuple[NDArray[np.uint16], ...] = tuple(
            self.file.array(f"width{i}", "<u2", (self.n_tokens,)) for i in range(n_planes)
        )
        if not n_planes or not (any_widths or not any(len(bad_widths(width)) for width in self.widths)):
            raise DamagedError(f"{path}: a grid width is not a finite, positive float16")
        self.has_text: U8 = self.file.array("has_text", "|u1", (self.n_docs,))
        self._blobs = {name: self._blob_arrays(name) for name in BLOBS}
        self.has_spans = "spans" in self.file
        if self.has_spans:
            self._spans = self.file.array("spans", self._span_dtype(), (self.n_tokens, 2), lazy=True)

    @property
    def row_bytes(self) -> list[int]:
        """Bytes per token in each plane."""
        return [plane.shape[1] for plane in self.planes]

    def verify(self, ordinals: I64 | None, n_planes: int | None = None) -> None:
        """Check the code blocks of these documents against their checksums, each block once.

        Args:
            ordinals: None for all documents.
            n_planes: only the first so many planes; None for all.
        Raises: DamagedError.
        """
        for i, plane in enumerate(self.planes[:n_planes]):
            row_bytes = plane.shape[1]
            if ordinals is None:
                self.file.verify(f"plane{i}", 0, self.n_tokens * row_bytes)
            else:
                self.file.verify_rows(
                    f"plane{i}", self.offsets[ordinals], self.offsets[np.asarray(ordinals) + 1], row_bytes
                )

    @lazy
    def is_dense(self) -> bool:
        """Whether its documents' numbers have no gaps."""
        return int(self.doc_nos[-1] - self.doc_nos[0]) == self.n_docs - 1

    def ordinals(self, doc_nos: I64) -> I64:
        """Ordinals of this segment's documents among the sorted doc_nos."""
        first, last = self.doc_nos[0], self.doc_nos[-1]
        in_range = doc_nos[np.searchsorted(doc_nos, first) : np.searchsorted(doc_nos, last, side="right")]
        if self.is_dense:
            dense: I64 = in_range - first
            return dense
        ordinals = np.searchsorted(self.doc_nos, in_range)
        found: I64 = ordinals[self.doc_nos[ordinals] == in_range]
        return found

    @lazy
    def tokenless(self) -> NDArray[np.bool_] | None:
        """(n_docs,) which documents have no tokens; None if all have some."""
        empty: NDArray[np.bool_] = self.offsets[1:] == self.offsets[:-1]
        return empty if empty.any() else None

    def damaged_documents(self, blocks: Sequence[int]) -> I64:
        """Ordinals of the documents that own a byte of these blocks.

        Raises: DamagedError: if a block holds offsets or numbers, on which all documents rely.
        """
        bounds: dict[str, tuple[I64, int]] = {
            name: (offsets, 1) for name, (offsets, _) in self._blobs.items()
        }
        bounds |= {f"plane{i}": (self.offsets, plane.shape[1]) for i, plane in enumerate(self.planes)}
        bounds |= {f"width{i}": (self.offsets, 2) for i in range(len(self.widths))}
        if self.has_spans:
            bounds["spans"] = self.offsets, self._span_bytes
        hit = np.zeros(self.n_docs, bool)
        for block in blocks:
            name = self.file.section_of(block)
            if name not in bounds:
                raise DamagedError(f"{self.file.path}: block {block} of section {name!r} is damaged")
            offsets, row_bytes = bounds[name]
            start = (block - self.file.first_block(name)) * container.BLOCK_BYTES
            starts, stops = offsets[:-1] * row_bytes, offsets[1:] * row_bytes
            hit |= (starts < start + container.BLOCK_BYTES) & (stops > start)
        return np.flatnonzero(hit)

    def document(self, ordinal: int) -> Document:
        """Id, text and metadata as the segment holds them.

        Raises: DamagedError: if a checksum is wrong, or a value is not what the index writes.
        """
        ranges = [
            (name, offsets.item(ordinal), offsets.item(ordinal + 1))
            for name, (offsets, _) in self._blobs.items()
        ]
        if not self.file.all_verified:
            self.file.verify_ranges(ranges)
        id, text, metadata = [bytes(self._blobs[name][1][start:stop]) for name, start, stop in ranges]
        try:
            return Document(
                stored_json.decode_id(id),
                text.decode() if self.has_text[ordinal] else None,
                stored_json.decode_metadata(metadata),
            )
        except ValueError as error:
            raise DamagedError(f"{self.file.path}: document {ordinal}: {error}") from None

    def numbered_documents(self, ordinals: Iterable[int] | None = None) -> Iterator[tuple[int, Document]]:
        """Number and document for each of these ordinals; None for all, the dead among them."""
        for ordinal in range(self.n_docs) if ordinals is None else ordinals:
            yield int(self.doc_nos[ordinal]), self.document(int(ordinal))

    def id(self, ordinal: int) -> DocId:
        """The id of one document.

        Raises: DamagedError.
        """
        try:
            return stored_json.decode_id(self.blob("ids", ordinal))
        except ValueError as error:
            raise DamagedError(f"{self.file.path}: document {ordinal}: {error}") from None

    def blob(self, name: str, ordinal: int) -> bytes:
        """The stored bytes of one document's id, text or metadata, verified."""
        offsets, data = self._blobs[name]
        start, stop = offsets.item(ordinal), offsets.item(ordinal + 1)
        self.file.verify(name, start, stop)
        return bytes(data[start:stop])

    def blobs(self, name: str, ordinals: I64) -> list[bytes]:
        """The stored bytes of many documents' ids, texts or metadata, verified."""
        offsets, data = self._blobs[name]
        starts, stops = offsets[ordinals], offsets[ordinals + 1]
        self.file.verify_rows(name, starts, stops, 1)
        return [bytes(data[start:stop]) for start, stop in zip(starts.tolist(), stops.tolist())]

    def blob_offsets(self, name: str) -> I64:
        """(n_docs + 1,) int64, where each document's id, text or metadata starts."""
        return self._blobs[name][0]

    def blob_bytes(self, name: str, start: int, stop: int) -> U8:
        """Bytes start..stop of all documents' ids, texts or metadata; call `verify_blobs` before."""
        return np.frombuffer(self._blobs[name][1], np.uint8)[start:stop]

    def verify_blobs(self, ordinals: I64) -> None:
        """Check the ids, texts, metadata and spans of ascending documents against their checksums.

        Raises: DamagedError.
        """
        for name, (offsets, _) in self._blobs.items():
            self.file.verify_ranges((name, start, stop) for start, stop in joined_ranges(offsets, ordinals))
        if self.has_spans:
            self.file.verify_ranges(
                ("spans", start * self._span_bytes, stop * self._span_bytes)
                for start, stop in joined_ranges(self.offsets, ordinals)
            )

    def span_rows(self, start: int, stop: int) -> I32:
        """(stop - start, 2) int32 character spans of a run of tokens; call `verify_blobs` before."""
        if not self.has_spans:
            return np.full((stop - start, 2), -1, np.int32)
        return self._spans[start:stop].astype(np.int32)

    def spans(self, ordinal: int) -> I32:
        """(n_tokens, 2) int32 character spans of one document's tokens; -1 where unknown."""
        start, stop = int(self.offsets[ordinal]), int(self.offsets[ordinal + 1])
        if self.has_spans:
            self.file.verify("spans", start * self._span_bytes, stop * self._span_bytes)
        return self.span_rows(start, stop)

    @property
    def _span_bytes(self) -> int:
        """Bytes per token in the section of spans."""
        return 2 * self._spans.dtype.itemsize

    def _blob_arrays(self, name: str) -> tuple[I64, memoryview]:
        data: U8 = self.file.array(name, "|u1", (None,), lazy=True)
        offsets: I64 = self.file.array(f"{name}_offsets", "<i8", (self.n_docs + 1,))
        self._check_offsets(f"{name}_offsets", offsets, end=len(data))
        return offsets, data.data

    def _check_offsets(self, name: str, offsets: I64, *, end: int | None = None) -> None:
        if (
            len(offsets) != self.n_docs + 1
            or offsets[0] != 0
            or (offsets[1:] < offsets[:-1]).any()
            or end not in (None, offsets[-1])
        ):
            raise DamagedError(f"{self.file.path}: section {name!r} is not a list of ascending offsets")

    def _span_dtype(self) -> str:
        return "<i2" if self.file.section_bytes()["spans"] == 4 * self.n_tokens else "<i4"


def joined_ranges(offsets: I64, ordinals: I64) -> Iterator[tuple[int, int]]:
    """Ranges of tokens or bytes that ascending documents own, those of neighbours joined into one.

    Args:
        offsets: (n_docs + 1,) int64, where each document starts.
    """
    breaks = np.flatnonzero(np.diff(ordinals) != 1) + 1
    for neighbours in np.split(ordinals, breaks):
        if len(neighbours):
            yield int(offsets[neighbours[0]]), int(offsets[neighbours[-1] + 1])
