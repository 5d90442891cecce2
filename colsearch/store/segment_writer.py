"""Writing segments: from encoded documents, or copied from other segments without a change of any code."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colsearch.store import stored_json
from colsearch.store.container import Section
from colsearch.store.folder import FileKind, IndexFolder
from colsearch.store.segment import Segment, Settings, joined_ranges
from colsearch.store.tables import SegmentRow
from colsearch.types import I32, I64, U8, DocId, Document

# A merge copies this much at a time.
_COPY_TOKENS, _COPY_BYTES = 1 << 18, 8 << 20


@dataclass(frozen=True, slots=True)
class DocumentBatch:
    """Encoded documents on their way into the store.

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


class StoredDocuments:
    """Ids, texts and metadata of the documents of some batches, as the bytes that a segment stores.

    Attributes:
        ids, texts, metadata: one string of bytes per document; no text is None.
    """

    def __init__(self, batches: Sequence[DocumentBatch]) -> None:
        self.ids = [stored_json.id_key(id).encode() for batch in batches for id in batch.ids]
        self.texts = [None if text is None else text.encode() for batch in batches for text in batch.texts]
        self.metadata = [stored_json.encode_metadata(row) for batch in batches for row in batch.metadata]

    def numbered(self, first_doc_no: int) -> Iterator[tuple[int, Document]]:
        """Number and document, equal to what a segment of these bytes gives.

        JSON changes some values: a tuple becomes a list, and a key that is a number becomes a string.
        """
        for n, (id, text, metadata) in enumerate(zip(self.ids, self.texts, self.metadata)):
            document = Document(
                stored_json.decode_id(id),
                None if text is None else text.decode(),
                stored_json.decode_metadata(metadata),
            )
            yield first_doc_no + n, document


def write_segment(
    folder: IndexFolder, batches: Sequence[DocumentBatch], first_doc_no: int, settings: Settings
) -> tuple[SegmentRow, StoredDocuments]:
    """Write the documents of the batches as one segment.

    Returns: the segment's row for SQLite, and the documents that SQLite looks up.
    Args:
        first_doc_no: the first document's number; the others follow.
    Raises: StorageError: nothing is left behind.
    """
    documents = StoredDocuments(batches)
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
    sections += _blobs("ids", documents.ids)
    sections += _blobs("texts", [text or b"" for text in documents.texts])
    has_text = np.array([text is not None for text in documents.texts], np.uint8)
    sections.append(Section.of("has_text", has_text))
    sections += _blobs("metadata", documents.metadata)
    if any(batch.spans is not None for batch in batches):
        sections.append(Section.of("spans", _packed_spans(_spans(batches))))
    return _written(folder, sections, settings, first_doc_no, offsets), documents


def write_merged(folder: IndexFolder, segments: Sequence[Segment], kept: Sequence[I64]) -> SegmentRow:
    """Copy the kept ordinals (ascending) of adjacent segments into a new one, byte for byte.

    Memory holds a few numbers per document, and one chunk at a time of everything else.
    Raises: DamagedError: if a checksum of what is copied is wrong; StorageError: nothing is left behind.
    """
    pieces = [(segment, ordinals) for segment, ordinals in zip(segments, kept) if len(ordinals)]
    doclens = _concatenated([np.diff(segment.offsets)[ordinals] for segment, ordinals in pieces], np.int64)
    offsets = np.concatenate([[0], np.cumsum(doclens)]).astype(np.int64)
    doc_nos = _concatenated([segment.doc_nos[ordinals] for segment, ordinals in pieces], np.int64)
    for segment, ordinals in pieces:
        segment.verify(ordinals)
        segment.verify_blobs(ordinals)
        segment.file.release()
    sections = [
        Section(
            f"{kind}{i}",
            arrays[0].dtype.str,
            (int(offsets[-1]), *arrays[0].shape[1:]),
            _copied_tokens(pieces, kind, i),
        )
        for kind, arrays_of_segments in (
            ("plane", [segment.planes for segment in segments]),
            ("width", [segment.widths for segment in segments]),
        )
        for i, arrays in enumerate(zip(*arrays_of_segments))
    ]
    sections.append(Section.of("offsets", offsets))
    sections.append(Section.of("doc_nos", doc_nos))
    sections += [*_copied_blobs("ids", pieces), *_copied_blobs("texts", pieces)]
    has_text = _concatenated([segment.has_text[ordinals] for segment, ordinals in pieces], np.uint8)
    sections.append(Section.of("has_text", has_text))
    sections += _copied_blobs("metadata", pieces)
    if any(segment.has_spans for segment, _ in pieces):
        sections.append(_copied_spans(pieces))
    return _written(folder, sections, segments[0].settings, int(doc_nos[0]), offsets)


def _written(
    folder: IndexFolder, sections: Sequence[Section], settings: Settings, first_doc_no: int, offsets: I64
) -> SegmentRow:
    meta = {"kind": "segment", "settings": settings}
    name, n_bytes = folder.write(FileKind.SEGMENT, sections, meta)
    return SegmentRow(name, first_doc_no, len(offsets) - 1, int(offsets[-1]), n_bytes)


def _spans(batches: Sequence[DocumentBatch]) -> I32:
    unknown = np.int32(-1)
    return np.concatenate(
        [
            np.full((int(batch.doclens.sum()), 2), unknown) if batch.spans is None else batch.spans
            for batch in batches
        ]
    )


def _packed_spans(spans: I32) -> NDArray[np.int16] | I32:
    """Character spans in 16 bits when every text is short enough, else in 32."""
    largest = int(spans.max()) if spans.size else -1
    return spans if _span_type(largest) is np.int32 else spans.astype(np.int16)


def _span_type(largest: int) -> type[np.int16] | type[np.int32]:
    return np.int32 if largest > np.iinfo(np.int16).max else np.int16


Pieces: TypeAlias = Sequence[tuple[Segment, I64]]


@dataclass(frozen=True, slots=True)
class _Copied:
    """A section's content, read from the kept documents in chunks of bounded size.

    Each segment's pages leave this process's memory once it is copied.

    Attributes:
        pieces: segments and the ordinals to keep of each.
        offsets: gives a segment's offsets of documents in the section.
        read: gives rows start..stop of the section.
        chunk: rows per chunk.
    """

    pieces: Pieces
    offsets: Callable[[Segment], I64]
    read: Callable[[Segment, int, int], NDArray[Any]]
    chunk: int

    def __call__(self) -> Iterator[NDArray[Any]]:
        for segment, ordinals in self.pieces:
            for start, stop in joined_ranges(self.offsets(segment), ordinals):
                for first in range(start, stop, self.chunk):
                    yield self.read(segment, first, min(first + self.chunk, stop))
            segment.file.release()


def _copied_tokens(pieces: Pieces, kind: str, number: int) -> _Copied:
    def read(segment: Segment, start: int, stop: int) -> NDArray[Any]:
        return (segment.planes if kind == "plane" else segment.widths)[number][start:stop]

    return _Copied(pieces, lambda segment: segment.offsets, read, _COPY_TOKENS)


def _copied_blobs(name: str, pieces: Pieces) -> list[Section]:
    lengths = [np.diff(segment.blob_offsets(name))[ordinals] for segment, ordinals in pieces]
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
    n_tokens = sum(int(np.diff(segment.offsets)[ordinals].sum()) for segment, ordinals in pieces)
    dtype = np.dtype(_span_type(largest))
    return Section(
        "spans",
        dtype.newbyteorder("<").str,
        (n_tokens, 2),
        lambda: (chunk.astype(dtype) for chunk in copied()),
    )


def _blobs(name: str, items: Sequence[bytes]) -> list[Section]:
    offsets = np.concatenate([[0], np.cumsum([len(item) for item in items], dtype=np.int64)])
    data = np.frombuffer(b"".join(items), np.uint8)
    return [Section.of(name, data), Section.of(f"{name}_offsets", offsets.astype(np.int64))]


def _joined(name: str, arrays: Sequence[NDArray[Any]]) -> Section:
    shape = (sum(len(array) for array in arrays), *arrays[0].shape[1:])
    return Section(name, arrays[0].dtype.newbyteorder("<").str, shape, lambda: arrays)


def _concatenated(arrays: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)
