"""What an index does by itself as it grows: fit a prefilter, extend it to new segments, notice drift."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from colsearch.prefilter.calibration import DEPTHS, Calibration, RecallSimulation
from colsearch.prefilter.fit import MIN_DOCS, fit_prefilter
from colsearch.prefilter.model import MODEL_META, LearnedPrefilter
from colsearch.prefilter.quantizer import DocumentCodes
from colsearch.prefilter.sampling import (
    gather,
    join,
    paraphrase_queries,
    token_span_queries,
    word_span_queries,
)
from colsearch.prefilter.state import SAMPLE, PrefilterState, fitted_on, usable_model
from colsearch.prefilter.stored import PrefilterCache, stored_codes
from colsearch.scoring.cost import scan_cost
from colsearch.scoring.scorer import Scorer, searchable
from colsearch.store.prefilter_file import present_rows
from colsearch.store.snapshot import FittedModel, LiveSegment, Snapshot
from colsearch.store.store import Store
from colsearch.types import F32, I64, DocId, TokenVectors
from colsearch_kernels import Codes

_log = logging.getLogger(__name__)
EncodeQueries = Callable[[Sequence[str]], TokenVectors]

# Segments below this many tokens are the tail: they are scanned, and merged into larger ones soon.
_MIN_SEGMENT_TOKENS = 16_384
# Of a fit: documents and their tokens, queries made of them, texts that are encoded as queries.
_SAMPLE_DOCS, _SAMPLE_TOKENS = 4000, 160_000
_N_RUNS = 4000
_N_TEXTS = 640
# Of a calibration. It holds for the size at which it was made, so that growth by half has it made anew, and
# some of the queries then are of new documents, to see whether they are like the old ones.
N_CALIBRATION, _N_OF_NEW = 128, 32
_GROWTH = 1.5
_N_AUDIT = 300
# Scanning what the prefilter lacks may cost so many cheap scans before a write stops to extend it.
_URGENT_SCANS = 4.0
# A prefilter has drifted if walks that kept this recall when it was calibrated keep less by more than the tolerance.
_CHECKED_RECALL, _TOLERANCE = 0.9825, 0.05
_SEED = 20260
# Documents that are read before what was read of them leaves the memory.
_CODES_AT_ONCE = 1 << 13


@dataclass(frozen=True, slots=True)
class Due:
    """What optimizing would do now.

    Attributes:
        reason: in words.
        n_scanned: tokens that every search scans until it is done.
        n_missing: tokens of documents that the prefilter has never seen.
    """

    reason: str
    n_scanned: int
    n_missing: int


class PrefilterMaintainer:
    """Keeps the prefilter of a store; every step is a commit of its own, and none changes a score."""

    def __init__(self, store: Store, scorer: Scorer, models: PrefilterCache) -> None:
        self._store = store
        self._codec = scorer.codec
        self._scorer = scorer
        self._models = models

    def due(self) -> Due | None:
        """What there is to do, if anything."""
        snapshot = self._store.snapshot()
        if usable_model(snapshot) is None:
            n_tokens = snapshot.n_tokens
            if scan_cost(n_tokens, 1, self._codec.dim) <= 1 or snapshot.n_docs < MIN_DOCS:
                return None
            return Due("searching takes a scan of all tokens; a prefilter would spare it", n_tokens, n_tokens)
        pending = sum(part.segment.n_tokens for part in _pending(snapshot))
        missing = sum(_n_missing(part) for part in _pending(snapshot))
        if scan_cost(pending, 1, self._codec.dim) > 0.5:
            return Due(f"{pending:,} tokens are not in the prefilter yet", pending, missing)
        return None

    def reason(self) -> str | None:
        """Why `run` would do something; None if it would not."""
        due = self.due()
        return None if due is None else due.reason

    def after_write(
        self, n_tokens_before: int | None, encoder: Callable[[], EncodeQueries | None], n_threads: int
    ) -> None:
        """Do what is due if the write that was just committed can pay for it, or if searching gets slow.

        A bulk add pays; single documents leave the work until it is urgent. A failure is no failed write.

        Args:
            n_tokens_before: None for a write that adds nothing.
        """
        try:
            due = self.due()
            if due is None:
                return
            n_now = self._store.snapshot().n_tokens
            n_added = 0 if n_tokens_before is None else n_now - n_tokens_before
            urgent = scan_cost(due.n_scanned, 1, self._codec.dim) > _URGENT_SCANS
            if urgent or 4 * n_added >= max(due.n_missing, 1):
                self.run(encoder(), n_threads)
        except Exception:  # noqa: BLE001
            # Whatever it was, the documents are committed: to raise would say that they are not.
            _log.exception("%s: the prefilter was put off until the next write", self._store.path)

    def before_purge(self, ids: Sequence[DocId]) -> None:
        """Forget the prefilter if it holds tokens of these documents, or of any that went before.

        The next write that finds it due fits another.
        Raises: UnknownIdError: if one of the ids is not in the index.
        """
        snapshot = self._store.snapshot()
        gone = snapshot.find(ids)
        sample = None if snapshot.model is None else fitted_on(snapshot.model)
        kept = None
        if (
            sample is not None
            and not np.isin(gone, sample).any()
            and len(snapshot.live(sample)) == len(sample)
        ):
            kept = snapshot.model
        self._store.forget_models(keep=None if kept is None else kept.name)

    def made_up_queries(self, encode: EncodeQueries | None, n_threads: int, n: int = _N_AUDIT) -> list[F32]:
        """At most n queries made of the index's documents, for an audit without real ones."""
        snapshot = self._store.snapshot()
        rng = np.random.default_rng(_SEED + 1)
        if not snapshot.n_tokens:
            return []
        documents, doc_nos = self._sample(snapshot, 0, rng)
        asked = [] if encode is None else encoded_text_queries(snapshot, doc_nos, encode, rng)
        return (asked or paraphrase_queries(documents, self._codec, n, rng, n_threads))[:n]

    def simulated(self, model: FittedModel, queries: Sequence[F32], n_threads: int) -> RecallSimulation:
        """What walks of these queries would meet, among all that the model's prefilter covers."""
        prefilter = self._models.loaded(model)[0]
        simulation = RecallSimulation(prefilter, self._codec, queries, n_threads)
        for part in self._store.snapshot().segments:
            if part.prefilter is not None:
                part.segment.verify(None)
                codes = self._scorer.codes(part.segment)
                document_codes = stored_codes(part.prefilter, prefilter, codes.n_docs)
                simulation.add(document_codes, codes, _answers(part), part.segment.file.release)
        return simulation

    def run(self, encode: EncodeQueries | None, n_threads: int) -> bool:
        """Do what is due.

        Args:
            encode: encodes texts as queries; None if the index knows no encoder.
        Returns: whether anything was done.
        """
        with self._store.write_lock():
            if self.due() is None:
                return False
            model = usable_model(self._store.snapshot())
            if model is None:
                self._refit(encode, n_threads)
                return True
            self._extend(model.name, self._models.loaded(model)[0], n_threads)
            if self._store.snapshot().n_tokens >= _GROWTH * PrefilterState.of(model).checked_tokens:
                self._measure_again(model, encode, n_threads)
            return True

    def _refit(self, encode: EncodeQueries | None, n_threads: int) -> None:
        prefilter, held_out, sample = self._fitted(encode, n_threads)
        name = self._store.put_model(prefilter.arrays() | {SAMPLE: sample}, MODEL_META)
        simulation = RecallSimulation(prefilter, self._codec, held_out, n_threads)
        self._extend(name, prefilter, n_threads, simulation)
        self._adopt(name, simulation.calibration())

    def _fitted(
        self, encode: EncodeQueries | None, n_threads: int
    ) -> tuple[LearnedPrefilter, list[F32], I64]:
        """A prefilter, queries that it was not fitted on, and the doc_nos of those documents that it was.

        The samples are in memory no longer than this.
        """
        snapshot = self._store.snapshot()
        rng = np.random.default_rng(_SEED)
        documents, doc_nos = self._sample(snapshot, 0, rng)
        runs = token_span_queries(documents, self._codec, _N_RUNS, rng)
        asked = [] if encode is None else encoded_text_queries(snapshot, doc_nos, encode, rng)
        if len(asked) > 2 * N_CALIBRATION:
            held_out, probes = asked[:N_CALIBRATION], np.concatenate(asked[N_CALIBRATION:])
        else:
            held_out = paraphrase_queries(documents, self._codec, N_CALIBRATION, rng, n_threads)
            probes = np.concatenate(runs)
        probes = probes[rng.permutation(len(probes))]
        return fit_prefilter(self._codec, documents, probes, runs, n_threads), held_out, doc_nos

    def _adopt(self, name: str, calibration: Calibration) -> None:
        snapshot = self._store.snapshot()
        notes = PrefilterState(calibration, snapshot.n_tokens, snapshot.next_doc_no)
        self._store.adopt_model(name, notes.to_json())

    def _extend(
        self,
        model: str,
        prefilter: LearnedPrefilter,
        n_threads: int,
        simulation: RecallSimulation | None = None,
    ) -> None:
        """Give each segment that lacks it what the model makes of it."""
        for part in self._store.snapshot().segments:
            has = part.prefilter is not None and part.prefilter.meta["model"] == model
            if has or part.segment.n_tokens < _MIN_SEGMENT_TOKENS:
                continue
            part.segment.verify(None)
            codes = self._scorer.codes(part.segment)
            document_codes = self._document_codes(part, model, prefilter, codes, n_threads)
            self._store.put_prefilter(part.segment.name, model, document_codes._asdict())
            if simulation is not None:
                simulation.add(document_codes, codes, _answers(part), part.segment.file.release)

    def _document_codes(
        self, part: LiveSegment, model: str, prefilter: LearnedPrefilter, codes: Codes, n_threads: int
    ) -> DocumentCodes:
        """Of all documents of a segment; rows that a merge carried over are not computed again."""
        document_codes = DocumentCodes.zeros(codes.n_docs, prefilter.n_dims)
        carried = part.partial_prefilter
        if carried is not None and carried.meta["model"] == model:
            present = present_rows(carried, codes.n_docs)
            for all_rows, known in zip(document_codes, stored_codes(carried, prefilter, codes.n_docs)):
                all_rows[present] = known[present]
        else:
            present = np.zeros(codes.n_docs, bool)
        missing = np.flatnonzero(~present)
        for first in range(0, len(missing), _CODES_AT_ONCE):
            block = missing[first : first + _CODES_AT_ONCE]
            for all_rows, new in zip(document_codes, prefilter.document_codes(codes, block, n_threads)):
                all_rows[block] = new
            part.segment.file.release()
        return document_codes

    def _measure_again(self, model: FittedModel, encode: EncodeQueries | None, n_threads: int) -> None:
        """A calibration for what the index has become; a new prefilter if new documents are unlike the old ones."""
        snapshot, notes = self._store.snapshot(), PrefilterState.of(model)
        rng = np.random.default_rng(_SEED)
        newer, _ = self._sample(snapshot, notes.checked_doc_no, rng)
        of_new = paraphrase_queries(newer, self._codec, _N_OF_NEW, rng, n_threads) if newer.n_docs else []
        documents, doc_nos = self._sample(snapshot, 0, rng)
        n = N_CALIBRATION - len(of_new)
        asked = [] if encode is None else encoded_text_queries(snapshot, doc_nos, encode, rng)[:n]
        of_all = asked if len(asked) == n else paraphrase_queries(documents, self._codec, n, rng, n_threads)
        simulation = self.simulated(model, [*of_new, *of_all], n_threads)
        z = notes.calibration.measured_z(_CHECKED_RECALL, DEPTHS[0])
        if (
            of_new
            and z is not None
            and simulation.kept(z, DEPTHS[0], len(of_new)) < _CHECKED_RECALL - _TOLERANCE
        ):
            _log.info("%s: the prefilter no longer fits the documents; fitting it anew", self._store.path)
            self._refit(encode, n_threads)
        else:
            self._adopt(model.name, simulation.calibration(len(of_new)))

    def _sample(self, snapshot: Snapshot, first: int, rng: np.random.Generator) -> tuple[Codes, I64]:
        """Copies of live documents at random, of those numbered `first` or later, and their doc_nos."""
        doc_nos = np.concatenate([part.segment.doc_nos[_answers(part)] for part in snapshot.segments])
        doc_nos = doc_nos[doc_nos >= first]
        mean_tokens = snapshot.n_tokens / max(snapshot.n_docs, 1)
        n = min(_SAMPLE_DOCS, max(MIN_DOCS, int(_SAMPLE_TOKENS / mean_tokens)))
        chosen = np.sort(rng.permutation(doc_nos)[:n])
        pieces = []
        for part in snapshot.segments:
            ordinals = searchable(part, chosen)
            assert ordinals is not None
            part.segment.verify(ordinals)
            pieces.append(gather(self._scorer.codes(part.segment), ordinals))
            part.segment.file.release()
        return join(pieces), chosen


def _pending(snapshot: Snapshot) -> list[LiveSegment]:
    """Segments that the prefilter should cover and does not."""
    return [
        part
        for part in snapshot.segments
        if part.prefilter is None and part.segment.n_tokens >= _MIN_SEGMENT_TOKENS
    ]


def _n_missing(part: LiveSegment) -> int:
    present = present_rows(part.prefilter or part.partial_prefilter, part.segment.n_docs)
    return int(np.diff(part.segment.offsets)[~present].sum())


def _answers(part: LiveSegment) -> NDArray[np.bool_]:
    """(n_docs,) which documents can be hits: those that live and have tokens."""
    answers = np.diff(part.segment.offsets) > 0
    if part.live is not None:
        answers &= part.live
    return answers


def encoded_text_queries(
    snapshot: Snapshot, doc_nos: I64, encode: EncodeQueries, rng: np.random.Generator
) -> list[F32]:
    """Some words of documents, encoded as queries; none where documents have no texts."""
    some = np.sort(rng.permutation(doc_nos)[:_N_TEXTS])
    texts = word_span_queries([document.text or "" for document in snapshot.documents(some)], rng)
    if not texts:
        return []
    tokens = encode(texts)
    ends = np.cumsum(tokens.doclens)
    queries = np.split(tokens.vectors, ends[:-1])
    return [queries[i] for i in rng.permutation(len(queries)) if len(queries[i])]
