"""A consistent view of an index: its segments, and which of their documents are live."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring as _quoted
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colsearch.errors import DamagedError, UnknownIdError
from colsearch.store.catalog import matching_doc_nos
from colsearch.store.container import Container
from colsearch.store.database import Database, doc_nos_for_keys
from colsearch.store.filter import compile_where
from colsearch.store.prefilter_file import PRESENT
from colsearch.store.segment import Segment
from colsearch.types import F32, I32, I64, DocId, Document

_WORD = re.compile(r"\w+")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_QUERY_WORDS = 1024


def id_key(id: DocId) -> str:
    """How an id is written in SQLite and in segments: "1" and 1 are two ids."""
    # As `json.dumps` does, which makes an encoder of its own for each.
    return _quoted(id) if isinstance(id, str) else int.__repr__(id)


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class FittedModel:
    """A prefilter's model.

    Attributes:
        file: its arrays.
        notes: JSON, what was measured of it on the documents of this index.
    """

    file: Container
    notes: str

    @property
    def name(self) -> str:
        return self.file.path.name


class LiveSegment:
    """A segment and the documents of it that this snapshot sees.

    Attributes:
        segment: the immutable file.
        live: (n_docs,) bool, or None when all are live.
        n_live: live documents.
        prefilter: the file with the current model's arrays, one row a document; None in the tail.
        partial_prefilter: the same with rows missing, which a merge left; then `prefilter` is None.
    """

    def __init__(self, segment: Segment, dead: I64, prefilter: Container | None = None) -> None:
        self.segment = segment
        partial = prefilter is not None and PRESENT in prefilter
        self.prefilter = None if partial else prefilter
        self.partial_prefilter = prefilter if partial else None
        self.live: NDArray[np.bool_] | None = None
        self.n_live = segment.n_docs
        if len(dead):
            self.live = np.isin(segment.doc_nos, dead, invert=True)
            self.n_live = int(self.live.sum())

    def ordinals(self, doc_nos: I64) -> I64:
        """Of the live documents among the sorted doc_nos."""
        ordinals = self.segment.ordinals(doc_nos)
        return ordinals if self.live is None else ordinals[self.live[ordinals]]


class Snapshot:
    """What one moment of the index holds; it stays valid whatever is written later.

    Attributes:
        segments: in insertion order.
        n_docs: live documents.
        next_doc_no: the number that the next document will get.
        model: the prefilter's, if there is one.
    """

    def __init__(
        self, database: Database, parts: Sequence[LiveSegment], visible: int, model: FittedModel | None = None
    ) -> None:
        self._database = database
        self.segments = tuple(parts)
        self.n_docs = sum(part.n_live for part in parts)
        self.n_tokens = sum(part.segment.n_tokens for part in parts)
        self.next_doc_no = visible + 1
        self.model = model
        self._firsts = np.array([part.segment.doc_nos[0] for part in parts], np.int64)

    def ids(self) -> Iterator[DocId]:
        """Ids of the live documents in insertion order."""
        for part in self.segments:
            for ordinal in range(part.segment.n_docs) if part.live is None else np.flatnonzero(part.live):
                yield part.segment.id(int(ordinal))

    def find(self, ids: Sequence[DocId], *, missing_ok: bool = False) -> I64:
        """(n,) int64 doc_nos in the order of the ids.

        Raises: UnknownIdError: naming the first id that no live document has.
        """
        keys = [id_key(id) for id in ids]
        wanted = [key for key in dict.fromkeys(keys) if not _LONE_SURROGATE.search(key)]
        with self._database.reading() as connection:
            numbers = doc_nos_for_keys(connection, wanted)
        found = {key: doc_no for key, doc_no in numbers if doc_no < self.next_doc_no}
        missing = [id for id, key in zip(ids, keys) if key not in found]
        if missing and not missing_ok:
            raise UnknownIdError(f"the index holds no document with id {missing[0]!r}")
        self.confirm(found)
        return np.array([found[key] for key in keys if key in found], np.int64)

    def confirm(self, doc_nos: Mapping[str, int]) -> None:
        """Compare what SQLite says of ids with the segments' own copy.

        Args:
            doc_nos: of `id_key`s.
        Raises: DamagedError: if a segment gives the document another id, or it is dead.
        """
        keys = list(doc_nos)
        part_of, ordinal_of = self.locate(np.array(list(doc_nos.values()), np.int64))
        for number in set(part_of.tolist()):
            rows = np.flatnonzero(part_of == number)
            live, ordinals = self.segments[number].live, ordinal_of[rows]
            stored = self.segments[number].segment.blobs("ids", ordinals)
            alive = [True] * len(rows) if live is None else live[ordinals].tolist()
            for row, key, good in zip(rows.tolist(), stored, alive):
                if keys[row].encode() != key or not good:
                    raise DamagedError(
                        f"{self._database.path} leads from id {keys[row]} to another document; "
                        "run `colsearch check --repair`"
                    )

    def locate(self, doc_nos: I64) -> tuple[I64, I64]:
        """Part number and ordinal of each document."""
        if len(self.segments) == 1 and self.segments[0].segment.is_dense:
            # Most indexes, after a merge, and most segments: nothing to look up.
            ordinals = doc_nos - self.segments[0].segment.doc_nos[0]
            if not len(ordinals) or int(ordinals.view(np.uint64).max()) < self.segments[0].segment.n_docs:
                return np.zeros(len(doc_nos), np.int64), ordinals
        part_of = np.searchsorted(self._firsts, doc_nos, side="right") - 1
        ordinal_of = np.zeros(len(doc_nos), np.int64)
        for number in np.unique(part_of):
            rows = np.flatnonzero(part_of == number)
            here = self.segments[number].segment.doc_nos if number >= 0 else np.empty(0, np.int64)
            ordinals = np.searchsorted(here, doc_nos[rows])
            known = ordinals < len(here)
            if not known.all() or (here[ordinals] != doc_nos[rows]).any():
                raise DamagedError(
                    f"{self._database.path} names documents that no segment holds; run `colsearch check --repair`"
                )
            ordinal_of[rows] = ordinals
        return part_of, ordinal_of

    def documents(self, doc_nos: I64) -> list[Document]:
        """The documents as their segments hold them."""
        part_of, ordinal_of = self.locate(doc_nos)
        return [
            self.segments[part].segment.document(ordinal)
            for part, ordinal in zip(part_of.tolist(), ordinal_of.tolist())
        ]

    def spans(self, doc_no: int) -> I32:
        """(n_tokens, 2) int32 character spans of one document; -1 where unknown."""
        part, ordinal = (int(n[0]) for n in self.locate(np.array([doc_no], np.int64)))
        return self.segments[part].segment.spans(ordinal)

    def where(self, where: Mapping[str, Any]) -> I64:
        """Sorted doc_nos of the live documents whose metadata match.

        Raises: FilterError.
        """
        sql, values = compile_where(where)
        with self._database.reading() as connection:
            # Sorted there: an ORDER BY would make SQLite merge the terms of a long $or row by row.
            matching = matching_doc_nos(connection, sql, values)
        return self.live(matching)

    def bm25(self, query: str, k: int) -> tuple[I64, F32]:
        """The k best live documents by BM25 over their texts: doc_nos and scores, best first."""
        words = list(dict.fromkeys(_WORD.findall(query)))[:MAX_QUERY_WORDS]
        if not words:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        match = " OR ".join(f'"{word}"' for word in words)
        sql = "SELECT rowid, -bm25(texts) FROM texts WHERE texts MATCH ? ORDER BY bm25(texts), rowid LIMIT ?"
        # Dead documents stay in the text index until their segment is rewritten, so ask for more.
        n_dead = sum(part.segment.n_docs - part.n_live for part in self.segments)
        with self._database.reading() as connection:
            rows = connection.execute(sql, (match, min(k + n_dead, 2**31))).fetchall()
        scores = dict(rows)
        doc_nos = np.array(list(scores), np.int64)
        live = set(self.live(np.sort(doc_nos)).tolist())
        kept = [doc_no for doc_no in scores if doc_no in live][:k]
        return np.array(kept, np.int64), np.array([scores[doc_no] for doc_no in kept], np.float32)

    def live(self, doc_nos: I64) -> I64:
        """Those of the sorted doc_nos that are live in this snapshot."""
        kept = []
        for part in self.segments:
            ordinals = part.ordinals(doc_nos)
            kept.append(part.segment.doc_nos[ordinals])
        return np.concatenate(kept) if kept else np.empty(0, np.int64)
