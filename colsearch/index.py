"""ColIndex: texts or token vectors in, ranked and explained hits out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from colsearch.config import DEFAULT_RECALL, DEFAULT_SEED, IndexConfig
from colsearch.encoders.index_encoder import IndexEncoder, loaded_encoder
from colsearch.errors import ConfigError, DocumentError
from colsearch.ingest import pipeline, validate
from colsearch.ingest.pipeline import Progress
from colsearch.prefilter.maintenance import PrefilterMaintainer
from colsearch.prefilter.stored import PrefilterCache
from colsearch.query.audit import Audit, audit
from colsearch.query.engine import QueryEngine, Request, to_hits
from colsearch.query.explain import Explanation
from colsearch.query.groups import best_of_groups, in_passages
from colsearch.scoring.device import Device
from colsearch.scoring.scorer import Ranking, Scorer
from colsearch.store.check import CheckReport
from colsearch.store.snapshot import Snapshot
from colsearch.store.stats import describe
from colsearch.store.store import Store
from colsearch.types import DocId, Document, Hits, Metadata, Profile
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
        self._index_encoder = IndexEncoder(self.config, store.path, encoder)
        self.n_threads = n_threads or available_cores()
        self._codec = self.config.codec()
        self._scorer = Scorer(self._codec, None if device is None else Device(device))
        self._models = PrefilterCache(self._codec.padded_dim)
        self._engine = QueryEngine(self._scorer, self._models)
        self._maintainer = PrefilterMaintainer(store, self._scorer, self._models)

    # --- life ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        encoder: object = None,
        *,
        dim: int | None = None,
        planes: Sequence[int] = (4, 4),
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
        if dim is not None and encoder is not None:
            raise ConfigError("give either an encoder or dim (for your own vectors), not both")
        if dim is not None:
            config = IndexConfig(dim, tuple(planes), seed, encoder="")
            config.codec()
            return cls(Store.create(path, config.to_json()), encoder=None, n_threads=n_threads)
        loaded = loaded_encoder(encoder)
        name = None if encoder is None else str(encoder) if isinstance(encoder, str | Path) else ""
        config = IndexConfig(loaded.dim, tuple(planes), seed, encoder=name, fingerprint=loaded.fingerprint)
        config.codec()
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
        loaded = None if encoder is None else loaded_encoder(encoder)
        return cls(store, encoder=loaded, n_threads=n_threads, device=device)

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
        return self._add(texts=texts, ids=ids, metadata=metadata, progress=progress, resume=resume)

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
        if passages is not None:
            documents = in_passages(documents, passages, self._index_encoder.token_spans())
        return self._write(
            lambda first_id: validate.checked_documents(documents),
            total=_length(documents),
            progress=progress,
            resume=resume,
        )

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
        return self._add(
            texts=texts, ids=ids, metadata=metadata, vectors=vectors, progress=progress, resume=resume
        )

    def update(
        self,
        texts: Iterable[str],
        *,
        ids: Iterable[DocId],
        metadata: Iterable[Metadata | None] | None = None,
        progress: Progress = None,
    ) -> int:
        """Replace the documents of these ids, and add those that are new, in one atomic step."""
        return self._add(texts=texts, ids=ids, metadata=metadata, progress=progress, replace=True)

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
        return self._add(
            texts=texts, ids=ids, metadata=metadata, vectors=vectors, progress=progress, replace=True
        )

    def delete(self, ids: DocId | Iterable[DocId], *, purge: bool = False) -> int:
        """Delete documents, all or none of them.

        Args:
            ids: one id or several.
            purge: also rewrite every file that holds a byte of them, before returning. A prefilter that was fitted
                on them goes as well; searches scan until a write, or `optimize`, has fitted another.
        Raises: UnknownIdError if one of the ids is not in the index.
        """
        several = [validate.checked_id(one) for one in ([ids] if isinstance(ids, str | int) else ids)]
        with self._store.write_lock():
            if purge:
                self._maintainer.before_purge(several)
            n_docs = self._store.delete(several, purge=purge)
        self._follow_up()
        return n_docs

    def compact(self) -> None:
        """Merge all segments and drop what was deleted; no score changes."""
        self._store.compact()
        self._follow_up()

    def optimize(self) -> bool:
        """Do at once what the index else does as it grows: fit its prefilter and extend it to all documents.

        Scores do not change. `info()["optimize_due"]` says whether there is anything to do.
        Returns: whether anything was done.
        Raises: ReadOnlyError, IndexLockedError, StorageError.
        """
        return self._maintainer.run(self._index_encoder.for_queries(), self.n_threads)

    # --- searching ----------------------------------------------------------------------------

    @overload
    def search(
        self,
        query: validate.Query,
        k: int = ...,
        *,
        where: Mapping[str, Any] | None = ...,
        recall: float = ...,
        exact: bool = ...,
        hybrid: bool | Literal["rrf"] = ...,
        candidates: validate.Retriever | None = ...,
        group_by: str | None = ...,
        profile: bool = ...,
    ) -> Hits: ...
    @overload
    def search(
        self,
        query: list[validate.Query],
        k: int = ...,
        *,
        where: Mapping[str, Any] | None = ...,
        recall: float = ...,
        exact: bool = ...,
        hybrid: bool | Literal["rrf"] = ...,
        candidates: validate.Retriever | None = ...,
        group_by: str | None = ...,
        profile: bool = ...,
    ) -> list[Hits]: ...
    def search(
        self,
        query: validate.Query | list[validate.Query],
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        recall: float = DEFAULT_RECALL,
        exact: bool = False,
        hybrid: bool | Literal["rrf"] = False,
        candidates: validate.Retriever | None = None,
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
        queries, single = validate.as_queries(query)
        k = validate.checked_k(k)
        encoding = Profile()
        with encoding.stage("encode"):
            tokens = [one.vectors for one in self._index_encoder.query_tokens(queries)]
        texts = [validate.text_of(one) for one in queries] if hybrid else None
        retrieved: list[list[DocId]] = []
        if candidates is not None:
            with encoding.stage("retrieve"):
                retrieved = validate.retrieved(candidates, queries, k, exact=exact, fused=hybrid == "rrf")
        snapshot, allowed = self._store.filtered(where)
        others = [snapshot.find(ids, missing_ok=True) for ids in retrieved]

        def best(k: int, rows: slice = slice(None)) -> list[Hits]:
            share = 1.0 if exact else validate.checked_recall(recall)
            request = Request(_at_most_all(k, snapshot), allowed, share, self.n_threads)
            if texts is None:
                searched = self._engine.search(snapshot, tokens[rows], request)
            else:
                searched = self._engine.hybrid(
                    snapshot, tokens[rows], texts[rows], request, fuse=hybrid == "rrf"
                )
            if candidates is not None:
                searched = [
                    self._engine.with_candidates(snapshot, *pair, request)
                    for pair in zip(searched, others[rows])
                ]
            for one in searched:
                one.profile.stage_ms = encoding.stage_ms | one.profile.stage_ms
            return [to_hits(snapshot, one.ranking, one.profile if profile else None) for one in searched]

        if group_by is None:
            hits = best(k)
        else:
            hits = [
                best_of_groups(lambda n, i=i: best(n, slice(i, i + 1))[0], k, group_by)  # type: ignore[misc]
                for i in range(len(queries))
            ]
        return hits[0] if single else hits

    def audit(
        self,
        queries: Sequence[validate.Query] | None = None,
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
        snapshot = self._store.snapshot()
        k, recall = validate.checked_k(k), validate.checked_recall(recall)
        if queries is None:
            vectors = self._maintainer.made_up_queries(self._index_encoder.for_queries(), self.n_threads)
        else:
            vectors = [tokens.vectors for tokens in self._index_encoder.query_tokens(queries)]
        if not vectors:
            raise ConfigError("an audit needs queries, and documents to search")
        found, exact = (
            self._engine.search(
                snapshot, vectors, Request(_at_most_all(k, snapshot), None, share, self.n_threads)
            )
            for share in (recall, 1.0)
        )
        return audit(found, exact, k=k, promised=recall, n_docs=snapshot.n_docs, made_up=queries is None)

    def rerank(self, query: validate.Query, ids: Iterable[DocId], k: int | None = None) -> Hits:
        """Order any retriever's candidates by MaxSim over their stored vectors, best first.

        An id given twice counts once; a document without tokens is left out.
        Raises: UnknownIdError if an id is not in the index.
        """
        snapshot, found = self._store.located([validate.checked_id(one) for one in ids])
        doc_nos = np.unique(found)
        [tokens] = self._index_encoder.query_tokens([query])
        scores = self._scorer.score(
            snapshot, self._scorer.prepare(tokens.vectors), doc_nos,
            n_threads=self.n_threads, profile=Profile(),
        )  # fmt: skip
        return to_hits(
            snapshot, Ranking.best(doc_nos, scores, validate.checked_k(k or len(doc_nos) or 1)), None
        )

    def explain(self, query: validate.Query, id: DocId) -> Explanation:
        """Which token of the document answered each query token, and its share of the score.

        Raises: UnknownIdError if the id is not in the index; DocumentError if it has no tokens.
        """
        snapshot, doc_nos = self._store.located([validate.checked_id(id)])
        [tokens] = self._index_encoder.query_tokens([query])
        aligned = self._scorer.align(snapshot, self._scorer.prepare(tokens.vectors), int(doc_nos[0]))
        if aligned is None:
            raise DocumentError(f"document {id!r} has no tokens, so there is nothing to explain")
        best, similarities = aligned
        return Explanation.build(
            query=query if isinstance(query, str) else None,
            query_spans=tokens.spans,
            document=snapshot.documents(doc_nos)[0],
            document_spans=snapshot.spans(int(doc_nos[0])),
            best_tokens=best,
            similarities=similarities,
        )

    # --- reading ------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        return self._store.path

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use and compared with the one that built the index.

        Raises: EncoderError if there is none, or if it is another one.
        """
        return self._index_encoder.get()

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
        snapshot, doc_nos = self._store.located([validate.checked_id(id)])
        return snapshot.documents(doc_nos)[0]

    def info(self) -> dict[str, Any]:
        """What the index holds and costs, as JSON-ready figures.

        Keys: n_docs, n_tokens, dim, planes, encoder, fingerprint, n_segments, bytes_per_token
        ("memory": what searching keeps hot, "disk": files retrieval reads, "all": with texts,
        metadata and text index), prefilter, optimize_due.
        """
        return describe(self._store.folder, self._store.snapshot(), self.config) | {
            "optimize_due": self._maintainer.reason()
        }

    def check(self, *, deep: bool = False, repair: bool = False) -> CheckReport:
        """Verify every checksum; deep also compares SQLite with the segments, repair rebuilds it from them."""
        return self._store.repair() if repair else self._store.check(deep=deep)

    # --- inside -------------------------------------------------------------------------------

    def _add(
        self,
        *,
        texts: Iterable[str | None] | None,
        ids: Iterable[DocId] | None,
        metadata: Iterable[Metadata | None] | None,
        vectors: Iterable[object] | None = None,
        progress: Progress,
        replace: bool = False,
        resume: bool = False,
    ) -> int:
        return self._write(
            lambda first_id: validate.documents(
                texts=texts, ids=ids, metadata=metadata, vectors=vectors, first_id=first_id
            ),
            has_vectors=vectors is not None,
            total=_length(texts if vectors is None else vectors),
            progress=progress,
            replace=replace,
            resume=resume,
        )

    def _write(
        self,
        rows_from: Callable[[int], Iterator[tuple[Document, object]]],
        *,
        has_vectors: bool = False,
        total: int | None,
        progress: Progress,
        replace: bool = False,
        resume: bool = False,
    ) -> int:
        """Stage and commit rows; `rows_from` gets the number that an unnamed first document has as its id."""
        n_tokens_before = self._store.snapshot().n_tokens
        with self._store.begin(replace=replace, resume=resume) as build:
            rows = islice(rows_from(build.first_doc_no), build.n_staged, None)
            if has_vectors:
                batches = pipeline.given_vectors(rows, self.config.dim)
            else:
                batches = pipeline.encoded_texts(rows, self.encoder.encode_document)
            n_docs = pipeline.write(build, self._codec, batches, progress, total)
            build.commit()
        self._follow_up(n_tokens_before)
        return build.n_staged + n_docs

    def _follow_up(self, n_tokens_before: int | None = None) -> None:
        """What a committed write leaves to do; not before the write is durable, and never its failure."""
        self._maintainer.after_write(n_tokens_before, self._index_encoder.for_queries, self.n_threads)


def _at_most_all(k: int, snapshot: Snapshot) -> int:
    """Beyond all documents, k means all of them; what is made for each hit must not cost more."""
    return min(k, max(snapshot.n_docs, 1))


def _length(items: object) -> int | None:
    """Of what has one; a stream has none."""
    return len(items) if isinstance(items, Sized) else None


def _reopen(path: str, read_only: bool, n_threads: int, device: str | None) -> ColIndex:
    return ColIndex.open(path, read_only=read_only, n_threads=n_threads, device=device)
