"""A segment: documents' codes, ids, texts, metadata and spans in one container."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colsearch.errors import DamagedError
from colsearch.store import container
from colsearch.store.container import Container, Section
from colsearch.types import I32, I64, U8, DocId, Document
from colsearch_kernels.layout.codes import bad_widths
from colsearch_kernels.runtime.lazy import lazy

SUFFIX = ".seg"
Settings: TypeAlias = dict[str, Any]
_COPY_TOKENS, _COPY_BYTES = 1 << 18, 8 << 20
# JSON as most ids are, strings that stand for their own characters and integers: read without json's ado.
_PLAIN_INTEGER = re.compile(rb"0|[1-9][0-9]{0,17}")
_PLAIN_STRING = re.compile(rb'"[ !#-\[\]-~]*"')


@dataclass(frozen=True, slots=True)
class DocumentBatch:
    """Encoded documents on their way into a build.

    Attributes:
        ids: one per document.
        planes: code planes, each (n_tokens, row_bytes) uint8.
        widths: per plane (n_tokens,) uint16, the bits of a float16.
        doclens: (n_docs,) int64, tokens per document.
        texts: one per document, None for a document without a text.
        metadata: one JSON-ready dict per document.
        spans: (n_tokens, 2) int32 character spans, or None.
    """

    ids: Sequence[DocId]
    planes: tuple[U8, ...]
    widths: tuple[NDArray[np.uint16], ...]
    doclens: I64
    texts: Sequence[str | None]
    metadata: Sequence[dict[str, Any]]
    spans: I32 | None = None


def write_segment(
    folder: Path, batches: Sequence[DocumentBatch], first_doc_no: int, settings: Settings
) -> tuple[str, int]:
    """Write the documents of the batches as one segment; returns its file name and size in bytes."""
    doclens = np.concatenate([batch.doclens for batch in batches])
    offsets = np.concatenate([[0], np.cumsum(doclens)]).astype(np.int64)
    sections = [
        _joined(f"plane{i}", [batch.planes[i] for batch in batches]) for i in range(len(batches[0].planes))
    ]
    sections += [
        _joined(f"width{i}", [batch.widths[i] for batch in batches]) for i in range(len(batches[0].widths))
    ]
    sections.append(Section.of("offsets", offsets))
    sections.append(Section.of("doc_nos", first_doc_no + np.arange(len(doclens), dtype=np.int64)))
    ids = [json.dumps(id, ensure_ascii=False).encode() for batch in batches for id in batch.ids]
    texts = [text for batch in batches for text in batch.texts]
    rows = [_canonical(row) for batch in batches for row in batch.metadata]
    sections += _blob("ids", ids)
    sections += _blob("texts", [b"" if text is None else text.encode() for text in texts])
    sections.append(Section.of("has_text", np.array([text is not None for text in texts], np.uint8)))
    sections += _blob("metadata", rows)
    if any(batch.spans is not None for batch in batches):
        spans = [
            np.full((int(b.doclens.sum()), 2), -1, np.int32) if b.spans is None else b.spans for b in batches
        ]
        sections.append(Section.of("spans", packed_spans(np.concatenate(spans))))
    return container.write(folder, SUFFIX, sections, {"kind": "segment", "settings": settings})


def write_merged(folder: Path, parts: Sequence["Segment"], kept: Sequence[I64]) -> tuple[str, int]:
    """Copy the kept ordinals (ascending) of adjacent segments into a new one, byte for byte.

    In memory are a few numbers a document, and of all else a chunk at a time.
    """
    pieces = [(segment, rows) for segment, rows in zip(parts, kept) if len(rows)]
    doclens = np.concatenate([np.diff(s.offsets)[rows] for s, rows in pieces] or [np.empty(0, np.int64)])
    offsets = np.concatenate([[0], np.cumsum(doclens)]).astype(np.int64)
    for segment, rows in pieces:
        segment.verify(rows)
        segment.verify_blobs(rows)
        segment.file.release()
    sections = [
        Section(
            f"{kind}{i}",
            arrays[0].dtype.str,
            (int(offsets[-1]), *arrays[0].shape[1:]),
            _copied_tokens(pieces, kind, i),
        )
        for kind, all_arrays in (("plane", [s.planes for s in parts]), ("width", [s.widths for s in parts]))
        for i, arrays in enumerate(zip(*all_arrays))
    ]
    sections.append(Section.of("offsets", offsets))
    sections.append(Section.of("doc_nos", _concatenated([s.doc_nos[rows] for s, rows in pieces], np.int64)))
    sections += [*_copied_blobs("ids", pieces), *_copied_blobs("texts", pieces)]
    sections.append(Section.of("has_text", _concatenated([s.has_text[rows] for s, rows in pieces], np.uint8)))
    sections += _copied_blobs("metadata", pieces)
    if any(segment.has_spans for segment, _ in pieces):
        sections.append(_copied_spans(pieces))
    meta = {"kind": "segment", "settings": parts[0].settings}
    return container.write(folder, SUFFIX, sections, meta)


class Segment:
    """Documents of one immutable file, mapped into memory.

    Attributes:
        name: of the file, a hash of its content.
        doc_nos: (n_docs,) int64, ascending insertion numbers.
        offsets: (n_docs + 1,) int64 token offsets.
        planes, widths: the code planes as `DocumentBatch` has them; call `verify` before reading them.
    """

    def __init__(self, path: Path, *, verify: str = "auto", any_widths: bool = False) -> None:
        """any_widths: for a repair, which leaves out the documents of a damaged block of widths."""
        self.name = path.name
        self.file = Container(path, verify=verify)
        # Of the index: the codes mean nothing without them, and SQLite has no checksums of its own.
        self.settings: Settings = self.file.meta.get("settings", {})
        self.offsets: I64 = self.file.array("offsets", "<i8", (None,))
        self.doc_nos: I64 = self.file.array("doc_nos", "<i8", (None,))
        self.n_docs = len(self.doc_nos)
        if self.file.meta.get("kind") != "segment" or not isinstance(self.settings, dict) or not self.n_docs:
            raise DamagedError(f"{path} is not a segment, or has no documents")
        self._check_offsets("offsets", self.offsets, None)
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
        self._blobs = {name: self._blob_arrays(name) for name in ("ids", "texts", "metadata")}
        self.has_spans = "spans" in self.file
        if self.has_spans:
            self._spans = self.file.array("spans", self._span_dtype(), (self.n_tokens, 2), lazy=True)

    @property
    def row_bytes(self) -> list[int]:
        """Bytes of a token in each plane."""
        return [plane.shape[1] for plane in self.planes]

    def verify(self, ordinals: I64 | None, n_planes: int | None = None) -> None:
        """Check the code blocks of these documents (None: of all) against their checksums, once."""
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
        """Of its documents among the sorted doc_nos."""
        here = self.doc_nos
        wanted = doc_nos[np.searchsorted(doc_nos, here[0]) : np.searchsorted(doc_nos, here[-1], side="right")]
        if self.is_dense:
            dense: I64 = wanted - here[0]
            return dense
        ordinals = np.searchsorted(here, wanted)
        found: I64 = ordinals[here[ordinals] == wanted]
        return found

    @lazy
    def tokenless(self) -> NDArray[np.bool_] | None:
        """(n_docs,) which documents have no tokens; None if all have some."""
        empty: NDArray[np.bool_] = self.offsets[1:] == self.offsets[:-1]
        return empty if empty.any() else None

    def damaged_documents(self, blocks: Sequence[int]) -> I64:
        """Ordinals of the documents that own a byte of these blocks.

        Raises: DamagedError: if one of the blocks tells where documents are, so that none can be trusted.
        """
        bounds: dict[str, tuple[I64, int]] = {
            name: (offsets, 1) for name, (offsets, _) in self._blobs.items()
        }
        bounds |= {f"plane{i}": (self.offsets, plane.shape[1]) for i, plane in enumerate(self.planes)}
        bounds |= {f"width{i}": (self.offsets, 2) for i in range(len(self.widths))}
        if self.has_spans:
            bounds["spans"] = self.offsets, 2 * self._spans.dtype.itemsize
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
        """Id, text and metadata as the segment holds them."""
        text = self.blob("texts", ordinal) if self.has_text[ordinal] else None
        metadata = self._json("metadata", ordinal)
        if not isinstance(metadata, dict):
            raise DamagedError(f"{self.file.path}: the metadata of document {ordinal} are no mapping")
        try:
            return Document(self.id(ordinal), None if text is None else text.decode(), metadata)
        except UnicodeDecodeError as error:
            raise DamagedError(f"{self.file.path}: the text of document {ordinal}: {error}") from None

    def id(self, ordinal: int) -> DocId:
        value = self._json("ids", ordinal)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise DamagedError(f"{self.file.path}: document {ordinal} has the id {value!r:.80}")
        return value

    def _json(self, name: str, ordinal: int) -> object:
        blob = self.blob(name, ordinal)
        if blob == b"{}":
            return {}
        if _PLAIN_STRING.fullmatch(blob):
            return blob[1:-1].decode()
        if _PLAIN_INTEGER.fullmatch(blob):
            return int(blob)
        try:
            value: object = json.loads(blob.decode())
            # Nothing is escaped when it is written; an escape could make a lone surrogate, which SQLite refuses.
            if b"\\u" in blob:
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"{self.file.path}: document {ordinal}, {name}: {error}") from None
        return value

    def blob(self, name: str, ordinal: int) -> bytes:
        """The stored bytes of one document's id, text or metadata, verified."""
        offsets, data = self._blobs[name]
        start, stop = offsets.item(ordinal), offsets.item(ordinal + 1)
        self.file.verify(name, start, stop)
        return bytes(data[start:stop])

    def blobs(self, name: str, ordinals: I64) -> list[bytes]:
        """The same of many documents."""
        offsets, data = self._blobs[name]
        starts, stops = offsets[ordinals], offsets[ordinals + 1]
        self.file.verify_rows(name, starts, stops, 1)
        return [bytes(data[start:stop]) for start, stop in zip(starts.tolist(), stops.tolist())]

    def blob_offsets(self, name: str) -> I64:
        """(n_docs + 1,) where each document's id, text or metadata starts."""
        return self._blobs[name][0]

    def blob_bytes(self, name: str, start: int, stop: int) -> U8:
        """A part of all documents' bytes; call `verify_blobs` before."""
        return np.frombuffer(self._blobs[name][1], np.uint8)[start:stop]

    def verify_blobs(self, ordinals: I64) -> None:
        """Check the ids, texts, metadata and spans of ascending documents against their checksums."""
        for name, (offsets, _) in self._blobs.items():
            for start, stop in _runs(offsets, ordinals):
                self.file.verify(name, start, stop)
        if self.has_spans:
            row_bytes = 2 * self._spans.dtype.itemsize
            for start, stop in _runs(self.offsets, ordinals):
                self.file.verify("spans", start * row_bytes, stop * row_bytes)

    def span_rows(self, start: int, stop: int) -> I32:
        """(n, 2) int32 character spans of a run of tokens; call `verify_blobs` before."""
        if not self.has_spans:
            return np.full((stop - start, 2), -1, np.int32)
        return self._spans[start:stop].astype(np.int32)

    def spans(self, ordinal: int) -> I32:
        """(n_tokens, 2) int32 character spans of one document's tokens; -1 where unknown."""
        start, stop = int(self.offsets[ordinal]), int(self.offsets[ordinal + 1])
        if self.has_spans:
            row_bytes = 2 * self._spans.dtype.itemsize
            self.file.verify("spans", start * row_bytes, stop * row_bytes)
        return self.span_rows(start, stop)

    def _blob_arrays(self, name: str) -> tuple[I64, memoryview]:
        data: U8 = self.file.array(name, "|u1", (None,), lazy=True)
        offsets: I64 = self.file.array(f"{name}_offsets", "<i8", (self.n_docs + 1,))
        self._check_offsets(f"{name}_offsets", offsets, len(data))
        return offsets, data.data

    def _check_offsets(self, name: str, offsets: I64, end: int | None) -> None:
        wrong_length = name == "offsets" and len(offsets) != self.n_docs + 1
        if (
            wrong_length
            or offsets[0] != 0
            or (offsets[1:] < offsets[:-1]).any()
            or end not in (None, offsets[-1])
        ):
            raise DamagedError(f"{self.file.path}: section {name!r} is not a list of ascending offsets")

    def _span_dtype(self) -> str:
        return "<i2" if self.file.section_bytes()["spans"] == 4 * self.n_tokens else "<i4"


def packed_spans(spans: I32) -> NDArray[np.int16] | I32:
    """Character spans in 16 bits when every text is short enough, else in 32."""
    largest = int(spans.max()) if spans.size else -1
    return spans if _span_type(largest) is np.int32 else spans.astype(np.int16)


def _span_type(largest: int) -> type[np.int16] | type[np.int32]:
    return np.int32 if largest > np.iinfo(np.int16).max else np.int16


Pieces: TypeAlias = Sequence[tuple[Segment, I64]]


@dataclass(frozen=True, slots=True)
class _Copied:
    """What `read` gives of the kept documents, in chunks of bounded size; files that were read leave the memory.

    Attributes:
        offsets: of each segment's documents in what is read.
        read: of a segment, from here to there.
    """

    pieces: Pieces
    offsets: Callable[[Segment], I64]
    read: Callable[[Segment, int, int], NDArray[Any]]
    chunk: int

    def __call__(self) -> Iterator[NDArray[Any]]:
        for segment, rows in self.pieces:
            for start, stop in _runs(self.offsets(segment), rows):
                for at in range(start, stop, self.chunk):
                    yield self.read(segment, at, min(at + self.chunk, stop))
            segment.file.release()


def _copied_tokens(pieces: Pieces, kind: str, number: int) -> _Copied:
    def read(segment: Segment, start: int, stop: int) -> NDArray[Any]:
        return (segment.planes if kind == "plane" else segment.widths)[number][start:stop]

    return _Copied(pieces, lambda segment: segment.offsets, read, _COPY_TOKENS)


def _copied_blobs(name: str, pieces: Pieces) -> list[Section]:
    lengths = [np.diff(segment.blob_offsets(name))[rows] for segment, rows in pieces]
    offsets = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
    copied = _Copied(
        pieces,
        lambda segment: segment.blob_offsets(name),
        lambda segment, start, stop: segment.blob_bytes(name, start, stop),
        _COPY_BYTES,
    )
    return [Section(name, "|u1", (int(offsets[-1]),), copied), Section.of(f"{name}_offsets", offsets)]


def _copied_spans(pieces: Pieces) -> Section:
    copied = _Copied(pieces, lambda segment: segment.offsets, Segment.span_rows, _COPY_TOKENS)
    largest = max((int(chunk.max()) for chunk in copied()), default=-1)
    n_tokens = sum(int(np.diff(segment.offsets)[rows].sum()) for segment, rows in pieces)
    dtype = np.dtype(_span_type(largest))
    return Section(
        "spans", dtype.newbyteorder("<").str, (n_tokens, 2), lambda: (c.astype(dtype) for c in copied())
    )


def _runs(offsets: I64, rows: I64) -> Iterable[tuple[int, int]]:
    """Token ranges of ascending documents, neighbours joined."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for run in np.split(rows, breaks):
        if len(run):
            yield int(offsets[run[0]]), int(offsets[run[-1] + 1])


def _joined(name: str, arrays: Sequence[NDArray[Any]]) -> Section:
    shape = (sum(len(array) for array in arrays), *arrays[0].shape[1:])
    return Section(name, arrays[0].dtype.newbyteorder("<").str, shape, lambda: arrays)


def _concatenated(arrays: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _blob(name: str, items: Sequence[bytes]) -> list[Section]:
    offsets = np.concatenate([[0], np.cumsum([len(item) for item in items], dtype=np.int64)])
    data = np.frombuffer(b"".join(items), np.uint8)
    return [Section.of(name, data), Section.of(f"{name}_offsets", offsets.astype(np.int64))]


def _canonical(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
