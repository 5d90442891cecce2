"""Comparing SQLite's tables with the segments: schema, metadata fields, text index."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from sqlite3 import Connection

import numpy as np
import xxhash

from colsearch.errors import DamagedError
from colsearch.store import schema, tables
from colsearch.store.filter import Row, field_rows
from colsearch.store.reader import SnapshotReader
from colsearch.store.segment import Segment
from colsearch.types import Document


def check_tables(reader: SnapshotReader) -> list[str]:
    """One sentence for each thing that is wrong.

    All tables are read in one transaction: a process that writes meanwhile waits with its commit.
    """
    try:
        with reader.database.reading() as connection:
            # First, because a damaged B-tree can lead any other query astray.
            if problems := schema.integrity_problems(connection):
                return [f"SQLite: {problem}" for problem in problems]
            segments = [live_segment.segment for live_segment in reader.snapshot().segments]
            segments += [reader.open_segment(name) for name in tables.staged_segments(connection)]
            return [
                *_check_schema(connection),
                *_check_fields(connection, segments),
                *_check_texts(connection, segments),
            ]
    except (DamagedError, FileNotFoundError) as error:
        return [str(error)]


def _check_schema(connection: Connection) -> list[str]:
    if schema.has_right_schema(connection):
        return []
    return ["SQLite: the tables are not defined as format 1 defines them"]


def _check_fields(connection: Connection, segments: Sequence[Segment]) -> list[str]:
    """Compare the metadata fields by one hash per document, so that memory does not grow with the metadata.

    A document's hash is the exclusive or of its fields' hashes.
    """
    doc_nos = np.concatenate([segment.doc_nos for segment in segments] or [np.empty(0, np.int64)])
    position = {doc_no: n for n, doc_no in enumerate(doc_nos.tolist())}
    in_sqlite, in_segments = np.zeros(len(doc_nos), np.uint64), np.zeros(len(doc_nos), np.uint64)
    problems = []
    for doc_no, row in tables.fields(connection):
        if doc_no in position:
            in_sqlite[position[doc_no]] ^= _hash(row)
        else:
            problems.append(f"document {doc_no}: SQLite has metadata of a document that no segment holds")
    for doc_no, document in _documents(segments):
        for row in field_rows(document.metadata):
            in_segments[position[doc_no]] ^= _hash(row)
    differing = doc_nos[in_sqlite != in_segments]
    return problems + [f"document {n}: its metadata in SQLite differ from the segment's" for n in differing]


def _hash(row: Row) -> np.uint64:
    return np.uint64(xxhash.xxh3_64_intdigest(repr(row).encode(errors="surrogatepass")))


def _check_texts(connection: Connection, segments: Sequence[Segment]) -> list[str]:
    texts = ((doc_no, document.text) for doc_no, document in _documents(segments) if document.text)
    return [
        f"text index: {content} differ from those of the segments' texts"
        for content, found, expected in tables.text_indexes(connection, texts)
        if any(found_row != expected_row for found_row, expected_row in zip_longest(found, expected))
    ]


def _documents(segments: Sequence[Segment]) -> Iterator[tuple[int, Document]]:
    """All documents, also the dead, which leave these tables only when their segment is rewritten."""
    for segment in segments:
        yield from segment.numbered_documents()
