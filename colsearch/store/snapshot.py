"""A consistent view of an index: its segments, and which of their documents are live."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colsearch.errors import DamagedError, UnknownIdError
from colsearch.store import tables
from colsearch.store.container import Container
from colsearch.store.database import Database
from colsearch.store.filter import compile_where
from colsearch.store.prefilter_file import PRESENT
from colsearch.store.segment import Segment
from colsearch.store.stored_json import id_key
from colsearch.types import F32, I32, I64, DocId, Document

_WORD = re.compile(r"\w+")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Words of a query that BM25 looks up; the cost of a query that is a whole text stays bounded.
MAX_QUERY_WORDS = 1024
# SQLite takes a limit of 64 bits; this one is far above any number of documents.
_MAX_LIMIT = 2**31


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class FittedModel:
    """A stored prefilter model.

    Attributes:
        file: its arrays.
        notes: JSON, what was measured of it on the documents of this index.
    """

    file: Container
    notes: str

    @property
    def name(self) -> str:
        """The name of its file, a hash of its content."""
        return self.file.path.name


class LiveSegment:
    """A segment, and which of its documents a snapshot sees.

    Attributes:
        segment: the immutable file.
        live: (n_docs,) bool, or None when all are live.
        n_live: number of live documents.
        prefilter: the file with the current model's arrays, one row per document; None in the tail.
        partial_prefilter: a file in which a merge left rows out; then `prefilter` is None.
    """

    def __init__(self, segment: Segment, dead: I64, prefilter: Container | None = None) -> None:
        """dead: sorted doc_nos of this segment."""
        self.segment = segment
        is_partial = prefilter is not None and PRESENT in prefilter
        self.prefilter = None if is_partial else prefilter
        self.partial_prefilter = prefilter if is_partial else None
        self.live: NDArray[np.bool_] | None = None
        self.n_live = segment.n_docs
        if len(dead):
            self.live = np.isin(segment.doc_nos, dead, invert=True)
            self.n_live = int(self.live.sum())

    def ordinals(self, doc_nos: I64) -> I64:
        """Ordinals of this segment's live documents among the sorted doc_nos."""
        ordinals = self.segment.ordinals(doc_nos)
        return ordinals if self.live is None else ordinals[self.live[ordinals]]

    def live_ordinals(self) -> I64:
        """Ordinals of the live documents."""
        return np.arange(self.segment.n_docs) if self.live is None else np.flatnonzero(self.live)

    def dead_ordinals(self) -> I64:
        """Ordinals of the documents that were deleted or replaced."""
        return np.empty(0, np.int64) if self.live is None else np.flatnonzero(~self.live)


class Snapshot:
    """One committed state of the index; it stays valid whatever is written later.

    Attributes:
        segments: live segments in insertion order.
        n_docs: live documents.
        n_tokens: tokens of all segments, those of dead documents included.
        next_doc_no: the number that the next document will get.
        model: the current fitted model, if there is one.
    """

    def __init__(
        self,
        database: Database,
        segments: Sequence[LiveSegment],
        visible: int,
        model: FittedModel | None = None,
    ) -> None:
        self._database = database
        self.segments = tuple(segments)
        self.n_docs = sum(live_segment.n_live for live_segment in segments)
        self.n_tokens = sum(live_segment.segment.n_tokens for live_segment in segments)
        self.next_doc_no = visible + 1
        self.model = model
        first_doc_nos = [live_segment.segment.doc_nos[0] for live_segment in segments]
        self._first_doc_nos = np.array(first_doc_nos, np.int64)

    def ids(self) -> Iterator[DocId]:
        """Ids of the live documents in insertion order."""
        for live_segment in self.segments:
            for ordinal in live_segment.live_ordinals():
                yield live_segment.segment.id(int(ordinal))

    def find(self, ids: Sequence[DocId], *, missing_ok: bool = False) -> I64:
        """(n,) int64 doc_nos in the order of the ids.

        Raises: UnknownIdError: naming the first id that no live document has; DamagedError.
        """
        keys = [id_key(id) for id in ids]
        wanted = [key for key in dict.fromkeys(keys) if not _LONE_SURROGATE.search(key)]
        with self._database.reading() as connection:
            numbers = tables.doc_nos_for_keys(connection, wanted)
        found = {key: doc_no for key, doc_no in numbers if doc_no < self.next_doc_no}
        missing = [id for id, key in zip(ids, keys) if key not in found]
        if missing and not missing_ok:
            raise UnknownIdError(f"the index holds no document with id {missing[0]!r}")
        self.confirm(found)
        return np.array([found[key] for key in keys if key in found], np.int64)

    def confirm(self, doc_nos: Mapping[str, int]) -> None:
        """Compare what SQLite says of ids with the segments' own copy.

        Args:
            doc_nos: `id_key` -> number.
        Raises: DamagedError: if a segment gives the document another id, or it is dead.
        """
        keys = list(doc_nos)
        segment_of, ordinal_of = self.locate(np.array(list(doc_nos.values()), np.int64))
        for position in set(segment_of.tolist()):
            rows = np.flatnonzero(segment_of == position)
            live_segment, ordinals = self.segments[position], ordinal_of[rows]
            stored_keys = live_segment.segment.blobs("ids", ordinals)
            is_live = (
                [True] * len(rows) if live_segment.live is None else live_segment.live[ordinals].tolist()
            )
            for row, stored_key, live in zip(rows.tolist(), stored_keys, is_live):
                if keys[row].encode() != stored_key or not live:
                    raise DamagedError(
                        f"{self._database.path} leads from id {keys[row]} to another document; "
                        "run `colsearch check --repair`"
                    )

    def locate(self, doc_nos: I64) -> tuple[I64, I64]:
        """Where documents are: the position of their segment in `segments`, and their ordinal in it.

        Raises: DamagedError: if a segment holds no document of that number.
        """
        if len(self.segments) == 1 and self.segments[0].segment.is_dense:
            # After a merge, most indexes have one segment, and most segments are dense: nothing to look up.
            ordinals = doc_nos - self.segments[0].segment.doc_nos[0]
            if not len(ordinals) or int(ordinals.view(np.uint64).max()) < self.segments[0].segment.n_docs:
                return np.zeros(len(doc_nos), np.int64), ordinals
        segment_of = np.searchsorted(self._first_doc_nos, doc_nos, side="right") - 1
        ordinal_of = np.zeros(len(doc_nos), np.int64)
        for position in np.unique(segment_of):
            rows = np.flatnonzero(segment_of == position)
            held = self.segments[position].segment.doc_nos if position >= 0 else np.empty(0, np.int64)
            ordinals = np.searchsorted(held, doc_nos[rows])
            if not (ordinals < len(held)).all() or (held[ordinals] != doc_nos[rows]).any():
                raise DamagedError(
                    f"{self._database.path} names documents that no segment holds; "
                    "run `colsearch check --repair`"
                )
            ordinal_of[rows] = ordinals
        return segment_of, ordinal_of

    def documents(self, doc_nos: I64) -> list[Document]:
        """The documents as their segments hold them."""
        segment_of, ordinal_of = self.locate(doc_nos)
        return [
            self.segments[position].segment.document(ordinal)
            for position, ordinal in zip(segment_of.tolist(), ordinal_of.tolist())
        ]

    def spans(self, doc_no: int) -> I32:
        """(n_tokens, 2) int32 character spans of one document; -1 where unknown."""
        segment_of, ordinal_of = self.locate(np.array([doc_no], np.int64))
        return self.segments[int(segment_of[0])].segment.spans(int(ordinal_of[0]))

    def where(self, where: Mapping[str, Any]) -> I64:
        """Sorted doc_nos of the live documents whose metadata match.

        Raises: FilterError.
        """
        sql, values = compile_where(where)
        with self._database.reading() as connection:
            matching = tables.matching_doc_nos(connection, sql, values)
        return self.live(matching)

    def bm25(self, query: str, k: int) -> tuple[I64, F32]:
        """The k best live documents by BM25 over their texts, best first.

        Returns: (n,) int64 doc_nos and (n,) float32 scores; n is at most k.
        """
        words = list(dict.fromkeys(_WORD.findall(query)))[:MAX_QUERY_WORDS]
        if not words:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        match = " OR ".join(f'"{word}"' for word in words)
        # Dead documents stay in the text index until their segment is rewritten, so ask for more.
        n_dead = sum(live_segment.segment.n_docs - live_segment.n_live for live_segment in self.segments)
        with self._database.reading() as connection:
            scores = dict(tables.bm25(connection, match, min(k + n_dead, _MAX_LIMIT)))
        doc_nos = np.array(list(scores), np.int64)
        live = set(self.live(np.sort(doc_nos)).tolist())
        kept = [doc_no for doc_no in scores if doc_no in live][:k]
        return np.array(kept, np.int64), np.array([scores[doc_no] for doc_no in kept], np.float32)

    def live(self, doc_nos: I64) -> I64:
        """Those of the sorted doc_nos that are live in this snapshot."""
        live = [
            live_segment.segment.doc_nos[live_segment.ordinals(doc_nos)] for live_segment in self.segments
        ]
        return np.concatenate(live) if live else np.empty(0, np.int64)
