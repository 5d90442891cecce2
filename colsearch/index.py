"""ColIndex: texts or token vectors in, ranked and explained hits out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from colsearch.codec.rotated import RotatedCodec
from colsearch.config import DEFAULT_PLANES, DEFAULT_RECALL, DEFAULT_SEED, IndexConfig
from colsearch.encoders.index_encoder import IndexEncoder, given_encoder, new_index_config
from colsearch.ingest.pipeline import IngestPipeline, Progress
from colsearch.ingest.validate import Columns, checked_id
from colsearch.prefilter.maintenance import PrefilterMaintainer
from colsearch.prefilter.stored import PrefilterCache
from colsearch.query.audit import Audit, audit
from colsearch.query.engine import QueryEngine
from colsearch.query.explain import Explanation
from colsearch.query.request import Query, Retriever, SearchRequest, as_queries
from colsearch.scoring.device import Device
from colsearch.scoring.scorer import Scorer
from colsearch.store.check import CheckReport
from colsearch.store.stats import describe
from colsearch.store.store import Store
from colsearch.types import DocId, Document, Hits, Metadata
from colsearch_kernels.runtime.pool import available_cores

if TYPE_CHECKING:
    from colsearch.encoders import Encoder


class ColIndex:
    """A late-interaction index in a folder: compressed token vectors, texts and metadata.

    Made by `create` or `open`, never by its constructor. Reads are consistent snapshots, safe from
    many threads; every write is one atomic, durable step; one process writes at a time.
    """

    def __init__(
        self, store: Store, *, encoder: Encoder | None, n_threads: int | None, device: str | None = None
    ) -> None:
        self._store = store
        self.config = IndexConfig.from_json(store.settings)
        self.n_threads = n_threads or available_cores()
        self._codec = RotatedCodec.from_config(self.config)
        self._encoder = IndexEncoder(self.config, store.path, encoder)
        self._scorer = Scorer(self._codec, None if device is None else Device(device))
        prefilters = PrefilterCache(self._codec.padded_dim)
        self._engine = QueryEngine(
            store.reader, self._encoder, self._scorer, prefilters, n_threads=self.n_threads
        )
        self._maintainer = PrefilterMaintainer(
            store, self._scorer, prefilters, self._encoder, n_threads=self.n_threads
        )
        self._ingest = IngestPipeline(store, self._codec, self._encoder, self._maintainer.after_write)

    # --- life ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        encoder: object = None,
        *,
        dim: int | None = None,
        planes: Sequence[int] = DEFAULT_PLANES,
        seed: int = DEFAULT_SEED,
        n_threads: int | None = None,
    ) -> ColIndex:
        """Make an empty index in a folder that does not exist yet, or is empty.

        Args:
            path: the folder.
            encoder: None for the embedded default, a hub name or folder of a late-interaction
                checkpoint, or any object with `encode_query` and `encode_document`.
            dim: length of the caller's own token vectors; the index then has no encoder.
            planes: bits per dimension of the code planes: the first scores candidates and stays in
                memory, the second is read for the best few.
            seed: of the codec's random rotation.
            n_threads: threads for scoring; all available cores if not given.
        Raises: IndexExistsError, ConfigError, EncoderError.
        """
        config, loaded = new_index_config(encoder, dim=dim, planes=planes, seed=seed)
        return cls(Store.create(path, config.to_json()), encoder=loaded, n_threads=n_threads)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: object = None,
        read_only: bool = False,
        verify: str = "auto",
        n_threads: int | None = None,
        device: str | None = None,
    ) -> ColIndex:
        """Open an index; nothing on disk changes.

        Args:
            path: the folder.
            encoder: needed only if the index was built with an encoder object; one that was named
                is loaded again at the first text.
            read_only: refuse writes.
            verify: checksums "auto" (at open when small, else on first touch), "full" or "off".
            n_threads: threads for scoring; all available cores if not given.
            device: a torch device such as "cuda", to which the codes are copied at the first search. Every
                document is scored there, whatever `recall` is asked for; scores are those of the CPU.
        Raises: IndexNotFoundError, FormatError, DamagedError, EncoderError, ConfigError.
        """
        store = Store.open(path, read_only=read_only, verify=verify)
        return cls(store, encoder=given_encoder(encoder), n_threads=n_threads, device=device)

    def close(self) -> None:
        """Let go of files and locks; closing twice is fine."""
        if self._scorer.device is not None:
            self._scorer.device.forget()
        self._store.close()

    def __enter__(self) -> ColIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., ColIndex], tuple[str, bool, int, str | None]]:
        # A worker process opens the index again by its path; nothing of it is copied.
        device = self._scorer.device
        return _reopen, (
            str(self.path),
            self._store.read_only,
            self.n_threads,
            device.name if device else None,
        )

    # --- writing ------------------------------------------------------------------------------

    def add(
        self,
        texts: Iterable[str],
        *,
        ids: Iterable[DocId] | None = None,
        metadata: Iterable[Metadata | None] | None = None,
        progress: Progress = None,
        resume: bool = False,
    ) -> int:
        """Encode and add texts; all of them, or none if anything fails.

        Args:
            texts: any iterable; it is streamed, so a corpus larger than memory is fine. An empty
                text is kept and never found.
            ids: unique strings or integers; counted up if not given.
            metadata: one JSON-like mapping per text.
            progress: a callback(n_done, n_total or None), True for a bar, False for none.
            resume: go on with an add of the same documents that was killed.
        Returns: the number of documents added.
        Raises: DuplicateIdError, DocumentError, ReadOnlyError, IndexLockedError, StorageError.
        """
        return self._ingest.add(Columns(texts, ids, metadata), progress=progress, resume=resume)

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        passages: int | None = None,
        progress: Progress = None,
        resume: bool = False,
    ) -> int:
        """As `add`, from documents that hold id, text and metadata together, such as a reader's.

        Args:
            passages: cut texts into passages of at most so many tokens, each a document of its own with the
                metadata `passage_of` and `passage`; search them with `group_by="passage_of"`.
        """
        return self._ingest.add_documents(documents, passages=passages, progress=progress, resume=resume)

    def add_vectors(
        self,
        vectors: Iterable[object],
        *,
        ids: Iterable[DocId] | None = None,
        texts: Iterable[str | None] | None = None,
        metadata: Iterable[Metadata | None] | None = None,
        progress: Progress = None,
        resume: bool = False,
    ) -> int:
        """Add documents by their own token vectors: one (n_tokens, dim) array or tensor each.

        Raises: as `add`, and ShapeError or VectorError naming the document.
        """
        columns = Columns(texts, ids, metadata, vectors)
        return self._ingest.add(columns, progress=progress, resume=resume)

    def update(
        self,
        texts: Iterable[str],
        *,
        ids: Iterable[DocId],
        metadata: Iterable[Metadata | None] | None = None,
        progress: Progress = None,
    ) -> int:
        """Replace the documents of these ids, and add those that are new, in one atomic step."""
        return self._ingest.add(Columns(texts, ids, metadata), progress=progress, replace=True)

    def update_vectors(
        self,
        vectors: Iterable[object],
        *,
        ids: Iterable[DocId],
        texts: Iterable[str | None] | None = None,
        metadata: Iterable[Metadata | None] | None = None,
        progress: Progress = None,
    ) -> int:
        """As `update`, with the caller's token vectors."""
        columns = Columns(texts, ids, metadata, vectors)
        return self._ingest.add(columns, progress=progress, replace=True)

    def delete(self, ids: DocId | Iterable[DocId], *, purge: bool = False) -> int:
        """Delete documents, all or none of them.

        Args:
            ids: one id or several.
            purge: also rewrite every file that holds a byte of them, before returning. A prefilter that was fitted
                on them goes as well; searches scan until a write, or `optimize`, has fitted another.
        Raises: UnknownIdError if one of the ids is not in the index.
        """
        checked = [checked_id(id) for id in ([ids] if isinstance(ids, str | int) else ids)]
        with self._store.write_lock():
            if purge:
                self._maintainer.before_purge(checked)
            n_docs = self._store.delete(checked, purge=purge)
        self._maintainer.after_write()
        return n_docs

    def compact(self) -> None:
        """Merge all segments and drop what was deleted; no score changes."""
        self._store.compact()
        self._maintainer.after_write()

    def optimize(self) -> bool:
        """Do at once what the index else does as it grows: fit its prefilter and extend it to all documents.

        Scores do not change. `info()["optimize_due"]` says whether there is anything to do.
        Returns: whether anything was done.
        Raises: ReadOnlyError, IndexLockedError, StorageError.
        """
        return self._maintainer.run()

    # --- searching ----------------------------------------------------------------------------

    @overload
    def search(
        self,
        query: Query,
        k: int = ...,
        *,
        where: Mapping[str, Any] | None = ...,
        recall: float = ...,
        exact: bool = ...,
        hybrid: bool | Literal["rrf"] = ...,
        candidates: Retriever | None = ...,
        group_by: str | None = ...,
        profile: bool = ...,
    ) -> Hits: ...
    @overload
    def search(
        self,
        query: list[Query],
        k: int = ...,
        *,
        where: Mapping[str, Any] | None = ...,
        recall: float = ...,
        exact: bool = ...,
        hybrid: bool | Literal["rrf"] = ...,
        candidates: Retriever | None = ...,
        group_by: str | None = ...,
        profile: bool = ...,
    ) -> list[Hits]: ...
    def search(
        self,
        query: Query | list[Query],
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        recall: float = DEFAULT_RECALL,
        exact: bool = False,
        hybrid: bool | Literal["rrf"] = False,
        candidates: Retriever | None = None,
        group_by: str | None = None,
        profile: bool = False,
    ) -> Hits | list[Hits]:
        """The k best documents by MaxSim.

        Args:
            query: a text, its token vectors (n_tokens, dim), or a list of either.
            k: number of hits; fewer come back when fewer documents match.
            where: a filter on metadata, such as {"year": {"$gte": 2020}}.
            recall: the share of the exact k best to find, on average. The number of candidates follows from
                it, query by query; where a scan is cheap, or nothing less would do, everything is scored.
            exact: score every document that passes the filter; the same as recall=1.
            hybrid: True lets the 100 best by BM25 compete as well, by their MaxSim; "rrf" orders by
                reciprocal-rank fusion of both, and a hit's score is then the fusion's. Queries must be texts.
            candidates: any other retriever, as a function of a query and a number n to the ids of its n best,
                such as a single-vector model's; they compete by their MaxSim too. Ids that the index does not
                hold are left out.
            group_by: a field of the metadata; each of its values counts once, by its best document, and names
                the hit. Passages count as their documents with "passage_of".
            profile: set `hits.profile` to counters and milliseconds per stage.
        Returns: Hits (a list of Hit), or one per query.
        Raises: ShapeError, VectorError, FilterError, EncoderError, ConfigError.
        Source: MaxSim is Khattab & Zaharia 2020, eq. 3.
        """
        queries, single = as_queries(query)
        request = SearchRequest.checked(
            k,
            where=where,
            recall=recall,
            exact=exact,
            hybrid=hybrid,
            candidates=candidates,
            group_by=group_by,
        )
        hits = self._engine.search(queries, request, profile=profile)
        return hits[0] if single else hits

    def audit(
        self,
        queries: Sequence[Query] | None = None,
        k: int = 10,
        *,
        recall: float = DEFAULT_RECALL,
    ) -> Audit:
        """Measure recall against exact search, with a confidence interval.

        Args:
            queries: texts or token vectors, best a few hundred real ones; if not given, 300 are made of
                the index's own documents.
            k: hits per query.
            recall: what to search with.
        Raises: ConfigError: if there is nothing to measure on.
        """
        return audit(self._engine, queries, k, recall, self._maintainer.settings)

    def rerank(self, query: Query, ids: Iterable[DocId], k: int | None = None) -> Hits:
        """Order any retriever's candidates by MaxSim over their stored vectors, best first.

        An id given twice counts once; a document without tokens is left out.
        Raises: UnknownIdError if an id is not in the index.
        """
        return self._engine.rerank(query, [checked_id(id) for id in ids], k)

    def explain(self, query: Query, id: DocId) -> Explanation:
        """Which token of the document answered each query token, and its share of the score.

        Raises: UnknownIdError if the id is not in the index; DocumentError if it has no tokens.
        """
        return self._engine.explain(query, checked_id(id))

    # --- reading ------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        return self._store.path

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use and compared with the one that built the index.

        Raises: EncoderError if there is none, or if it is another one.
        """
        return self._encoder.get()

    def __len__(self) -> int:
        return self._store.snapshot().n_docs

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str | int) and bool(len(self._store.located([id], missing_ok=True)[1]))

    def __iter__(self) -> Iterator[DocId]:
        """The ids, in the order in which the documents were added."""
        return self._store.snapshot().ids()

    def get(self, id: DocId) -> Document:
        """One document's text and metadata.

        Raises: UnknownIdError if the id is not in the index.
        """
        snapshot, doc_nos = self._store.located([checked_id(id)])
        return snapshot.documents(doc_nos)[0]

    def info(self) -> dict[str, Any]:
        """What the index holds and costs, as JSON-ready figures.

        Keys: n_docs, n_tokens, dim, planes, encoder, fingerprint, n_segments, bytes_per_token
        ("memory": what searching keeps hot, "disk": files retrieval reads, "all": with texts,
        metadata and text index), prefilter, optimize_due.
        """
        due = self._maintainer.due()
        figures = describe(self._store.folder, self._store.snapshot(), self.config)
        return figures | {"optimize_due": due.reason if due else None}

    def check(self, *, deep: bool = False, repair: bool = False) -> CheckReport:
        """Verify every checksum; deep also compares SQLite with the segments, repair rebuilds it from them."""
        return self._store.repair() if repair else self._store.check(deep=deep)


def _reopen(path: str, read_only: bool, n_threads: int, device: str | None) -> ColIndex:
    return ColIndex.open(path, read_only=read_only, n_threads=n_threads, device=device)
