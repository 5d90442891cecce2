"""The constants of a prefilter's life, each with its reason: how it is fitted, calibrated and kept up to date."""

from dataclasses import dataclass

from colsearch.config import DEFAULT_SEED


@dataclass(frozen=True, slots=True)
class PrefilterSettings:
    """Settings of `fit_prefilter` and of `PrefilterMaintainer`.

    Attributes:
        min_docs: fewer documents give the regression nothing to learn from, and scanning them is cheap.
        n_landmarks: landmarks that query tokens are softly assigned to.
        n_probes: tokens on which every document is measured. 3,072 spread over the landmarks are as good as
            4,096 at random, and a quarter cheaper for every document.
        n_probe_tokens: tokens that the probes are chosen from.
        n_dims: dimensions of a document's vector, 256 bytes per document after quantization.
        ridge: share of the mean eigenvalue that the regression adds to the diagonal. The best of 1e-6 to 1e-1
            once documents are quantized; a smaller ridge lets the quantization error grow.
        sample_docs, sample_tokens: documents that a fit reads, fewer where they are long.
        n_span_queries: synthetic queries of neighbouring document tokens in a fit.
        n_text_queries: texts that are encoded as queries where the index has texts and an encoder.
        n_calibration: queries of a calibration.
        n_new_calibration: how many of these are made of new documents, which shows whether these resemble
            the old ones.
        growth: an index that grew by this factor is calibrated anew, since a calibration holds for the size at
            which it was made.
        min_segment_tokens: smaller segments are the tail: they are scanned, and merged into larger ones soon.
        extend_scans: the prefilter is extended once scanning what it lacks costs more cheap scans than this.
        urgent_scans: a write stops to extend the prefilter once scanning what it lacks costs more cheap scans
            than this, whether or not the write can pay for it.
        payback: a write pays for maintenance if it adds at least 1 / payback of the tokens that are missing.
        checked_recall, tolerance: the prefilter has drifted if queries of new documents, followed as far as gave
            `checked_recall` at the last calibration, find less than that by more than `tolerance`.
        docs_per_block: documents whose codes are read before what was read of them leaves the memory.
        seed: of all samples.
    """

    min_docs: int = 1024
    n_landmarks: int = 1024
    n_probes: int = 3072
    n_probe_tokens: int = 16_384
    n_dims: int = 768
    ridge: float = 3e-5
    sample_docs: int = 4000
    sample_tokens: int = 160_000
    n_span_queries: int = 4000
    n_text_queries: int = 640
    n_calibration: int = 128
    n_new_calibration: int = 32
    growth: float = 1.5
    min_segment_tokens: int = 16_384
    extend_scans: float = 0.5
    urgent_scans: float = 4.0
    payback: int = 4
    checked_recall: float = 0.9825
    tolerance: float = 0.05
    docs_per_block: int = 1 << 13
    seed: int = DEFAULT_SEED


# What an index takes that is opened or created; tests put smaller ones in its place.
DEFAULT = PrefilterSettings()
