"""Maintenance of the prefilter as an index grows: fit it, extend it to new segments, calibrate it anew.

Every step is a commit of its own, and none changes a score.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colsearch.prefilter import settings as prefilter_settings
from colsearch.prefilter.calibration import DEPTHS, Calibration
from colsearch.prefilter.fit import fit_prefilter
from colsearch.prefilter.model import MODEL_META, LearnedPrefilter
from colsearch.prefilter.quantizer import DocumentCodes
from colsearch.prefilter.sampling import can_be_hits, sample_documents
from colsearch.prefilter.settings import PrefilterSettings
from colsearch.prefilter.simulation import RecallSimulation
from colsearch.prefilter.state import SAMPLE, PrefilterState, sample_of, usable_model
from colsearch.prefilter.stored import PrefilterCache, stored_codes
from colsearch.prefilter.synthetic_queries import (
    QueryEncoder,
    encoded_text_queries,
    paraphrase_queries,
    token_span_queries,
)
from colsearch.scoring.cost import scan_cost
from colsearch.scoring.scorer import Scorer
from colsearch.store.prefilter_file import present_rows
from colsearch.store.snapshot import FittedModel, LiveSegment
from colsearch.store.store import Store
from colsearch.types import F32, I64, DocId
from colsearch_kernels import Codes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """Why maintenance is due.

    Attributes:
        reason: in words.
        n_scanned: tokens that every search scans until it is done.
        n_missing: tokens of documents that have no document codes yet.
    """

    reason: str
    n_scanned: int
    n_missing: int


class PrefilterMaintainer:
    """Keeps the prefilter of one index.

    Args:
        encoder: encodes texts as queries, if the index has an encoder.
        settings: those of `colsearch.prefilter.settings.DEFAULT` if not given.
    """

    def __init__(
        self,
        store: Store,
        scorer: Scorer,
        prefilters: PrefilterCache,
        encoder: QueryEncoder,
        *,
        n_threads: int,
        settings: PrefilterSettings | None = None,
    ) -> None:
        self._store = store
        self._scorer = scorer
        self._codec = scorer.codec
        self._prefilters = prefilters
        self._encoder = encoder
        self._n_threads = n_threads
        self.settings = settings or prefilter_settings.DEFAULT

    def due(self) -> Due | None:
        """What there is to do, if anything."""
        snapshot, settings = self._store.snapshot(), self.settings
        if usable_model(snapshot) is None:
            n_tokens = snapshot.n_tokens
            if self._scan_cost(n_tokens) <= 1 or snapshot.n_docs < settings.min_docs:
                return None
            return Due(
                "every search scans all tokens; fitting a prefilter would avoid that", n_tokens, n_tokens
            )
        pending = [
            live_segment
            for live_segment in snapshot.segments
            if live_segment.prefilter is None and live_segment.segment.n_tokens >= settings.min_segment_tokens
        ]
        n_scanned = sum(live_segment.segment.n_tokens for live_segment in pending)
        if self._scan_cost(n_scanned) <= settings.extend_scans:
            return None
        n_missing = sum(_n_missing_tokens(live_segment) for live_segment in pending)
        return Due(f"{n_scanned:,} tokens are not in the prefilter yet", n_scanned, n_missing)

    def after_write(self, n_tokens_before: int | None = None) -> None:
        """Maintenance after a durable commit, if the write can pay for it or searching gets slow.

        A bulk add pays; single documents leave the work until it is urgent. An error is logged and never fails
        the write.

        Args:
            n_tokens_before: tokens of the index before the write; None for a write that adds nothing.
        """
        try:
            due = self.due()
            if due is None:
                return
            n_tokens = self._store.snapshot().n_tokens
            n_added = 0 if n_tokens_before is None else n_tokens - n_tokens_before
            urgent = self._scan_cost(due.n_scanned) > self.settings.urgent_scans
            if urgent or self.settings.payback * n_added >= max(due.n_missing, 1):
                self.run()
        except Exception:  # noqa: BLE001
            # The documents are committed, whatever went wrong here; an exception would say that they are not.
            _log.exception(
                "%s: maintenance of the prefilter is put off until the next write", self._store.path
            )

    def before_purge(self, ids: Sequence[DocId]) -> None:
        """Drop the prefilter if it was fitted on any of these documents, or on documents deleted earlier.

        The next write that finds it due fits another.
        Raises: UnknownIdError: if one of the ids is not in the index.
        """
        snapshot = self._store.snapshot()
        purged = snapshot.find(ids)
        sample = None if snapshot.model is None else sample_of(snapshot.model)
        keeps_it = (
            sample is not None
            and not np.isin(purged, sample).any()
            and len(snapshot.live(sample)) == len(sample)
        )
        self._store.forget_models(keep=snapshot.model.name if keeps_it and snapshot.model else None)

    def run(self) -> bool:
        """Do what is due; returns whether anything was done."""
        with self._store.write_lock():
            if self.due() is None:
                return False
            model = usable_model(self._store.snapshot())
            if model is None:
                self._fit_anew()
                return True
            prefilter, state = self._prefilters.load(model)
            self._extend(model.name, prefilter)
            if self._store.snapshot().n_tokens >= self.settings.growth * state.checked_tokens:
                self._calibrate_anew(model, state)
            return True

    def simulate(self, model: FittedModel, queries: Sequence[F32]) -> RecallSimulation:
        """The recall that these queries would have among all documents that the prefilter covers."""
        prefilter, _ = self._prefilters.load(model)
        simulation = RecallSimulation(prefilter, self._codec, queries, self._n_threads)
        for live_segment in self._store.snapshot().segments:
            if live_segment.prefilter is not None:
                segment = live_segment.segment
                segment.verify(None)
                document_codes = stored_codes(live_segment.prefilter, prefilter, segment.n_docs)
                self._simulate_segment(simulation, live_segment, document_codes)
        return simulation

    def _fit_anew(self) -> None:
        prefilter, held_out, sample = self._fitted()
        name = self._store.put_model(prefilter.arrays() | {SAMPLE: sample}, MODEL_META)
        simulation = RecallSimulation(prefilter, self._codec, held_out, self._n_threads)
        self._extend(name, prefilter, simulation)
        self._adopt(name, simulation.calibration())

    def _fitted(self) -> tuple[LearnedPrefilter, list[F32], I64]:
        """A prefilter, queries that it was not fitted on, and the doc_nos of the documents that it was fitted on.

        The samples leave the memory on return.
        """
        snapshot, settings = self._store.snapshot(), self.settings
        rng = np.random.default_rng(settings.seed)
        documents, doc_nos = sample_documents(snapshot, self._scorer, settings, rng)
        spans = token_span_queries(documents, self._codec, settings.n_span_queries, rng)
        texts = encoded_text_queries(snapshot, doc_nos, self._encoder, settings, rng)
        if len(texts) > 2 * settings.n_calibration:
            held_out = texts[: settings.n_calibration]
            probes = np.concatenate(texts[settings.n_calibration :])
        else:
            held_out = paraphrase_queries(
                documents, self._codec, settings.n_calibration, rng, self._n_threads
            )
            probes = np.concatenate(spans)
        probes = probes[rng.permutation(len(probes))]
        prefilter = fit_prefilter(self._codec, documents, probes, spans, self._n_threads, settings)
        return prefilter, held_out, doc_nos

    def _adopt(self, name: str, calibration: Calibration) -> None:
        snapshot = self._store.snapshot()
        state = PrefilterState(calibration, snapshot.n_tokens, snapshot.next_doc_no)
        self._store.adopt_model(name, state.to_json())

    def _extend(
        self, model: str, prefilter: LearnedPrefilter, simulation: RecallSimulation | None = None
    ) -> None:
        """Store document codes for each segment that lacks them, and simulate queries on these."""
        for live_segment in self._store.snapshot().segments:
            segment, covered = live_segment.segment, live_segment.prefilter
            if covered is not None and covered.meta["model"] == model:
                continue
            if segment.n_tokens < self.settings.min_segment_tokens:
                continue
            segment.verify(None)
            document_codes = self._document_codes(live_segment, model, prefilter)
            self._store.put_prefilter(segment.name, model, document_codes._asdict())
            if simulation is not None:
                self._simulate_segment(simulation, live_segment, document_codes)

    def _simulate_segment(
        self, simulation: RecallSimulation, live_segment: LiveSegment, document_codes: DocumentCodes
    ) -> None:
        segment = live_segment.segment
        simulation.add(
            document_codes, self._scorer.codes(segment), can_be_hits(live_segment), segment.file.release
        )

    def _document_codes(
        self, live_segment: LiveSegment, model: str, prefilter: LearnedPrefilter
    ) -> DocumentCodes:
        """The codes of all documents of a segment; those that a merge carried over are not computed again."""
        segment, carried = live_segment.segment, live_segment.partial_prefilter
        codes = self._scorer.codes(segment)
        document_codes = DocumentCodes.zeros(codes.n_docs, prefilter.n_dims)
        present = np.zeros(codes.n_docs, bool)
        if carried is not None and carried.meta["model"] == model:
            present = present_rows(carried, codes.n_docs)
            for stage, carried_stage in zip(document_codes, stored_codes(carried, prefilter, codes.n_docs)):
                stage[present] = carried_stage[present]
        missing = np.flatnonzero(~present)
        for first in range(0, len(missing), self.settings.docs_per_block):
            block = missing[first : first + self.settings.docs_per_block]
            for stage, new in zip(document_codes, prefilter.document_codes(codes, block, self._n_threads)):
                stage[block] = new
            segment.file.release()
        return document_codes

    def _calibrate_anew(self, model: FittedModel, state: PrefilterState) -> None:
        """Calibrate for the index's new size; fit another prefilter if new documents are unlike the old ones."""
        snapshot, settings = self._store.snapshot(), self.settings
        rng = np.random.default_rng(settings.seed)
        newer, _ = sample_documents(snapshot, self._scorer, settings, rng, first_doc_no=state.checked_doc_no)
        of_new = self._paraphrases(newer, settings.n_new_calibration, rng) if newer.n_docs else []
        documents, doc_nos = sample_documents(snapshot, self._scorer, settings, rng)
        n_others = settings.n_calibration - len(of_new)
        of_all = encoded_text_queries(snapshot, doc_nos, self._encoder, settings, rng)[:n_others]
        if len(of_all) < n_others:
            of_all = self._paraphrases(documents, n_others, rng)
        simulation = self.simulate(model, [*of_new, *of_all])
        if self._has_drifted(simulation, len(of_new), state.calibration):
            _log.info("%s: new documents are unlike those that the prefilter was fitted on", self._store.path)
            self._fit_anew()
        else:
            self._adopt(model.name, simulation.calibration(len(of_new)))

    def _has_drifted(self, simulation: RecallSimulation, n_of_new: int, last: Calibration) -> bool:
        checked_recall = self.settings.checked_recall
        stop_deviations = last.measured_deviations(checked_recall, DEPTHS[0])
        if not n_of_new or stop_deviations is None:
            return False
        recall = simulation.recall_at(stop_deviations, DEPTHS[0], n_of_new)
        return recall < checked_recall - self.settings.tolerance

    def _paraphrases(self, documents: Codes, n: int, rng: np.random.Generator) -> list[F32]:
        return paraphrase_queries(documents, self._codec, n, rng, self._n_threads)

    def _scan_cost(self, n_tokens: int) -> float:
        return scan_cost(n_tokens, 1, self._codec.dim)


def _n_missing_tokens(live_segment: LiveSegment) -> int:
    segment = live_segment.segment
    present = present_rows(live_segment.partial_prefilter, segment.n_docs)
    return int(np.diff(segment.offsets)[~present].sum())
