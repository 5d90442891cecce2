"""Samples that a prefilter is fitted and calibrated on: documents, and queries made of documents."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

import colsearch_kernels as kernels
from colsearch.codec.encoded import EncodedTokens
from colsearch.codec.rotated import RotatedCodec
from colsearch.types import F32, I64
from colsearch_kernels import Codes
from colsearch_kernels.layout.ragged import indices_of_ranges

# Tokens of a query made of document tokens, and words of one made of a text.
_RUN_TOKENS = (4, 24)
_RUN_WORDS = (4, 13)
# Documents whose tokens runs are reworded with.
_N_WORDING = 2000


def gather(codes: Codes, ordinals: I64) -> Codes:
    """The codes of some documents, copied."""
    starts, stops = codes.offsets[ordinals], codes.offsets[ordinals + 1]
    lengths = stops - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = indices_of_ranges(starts, lengths)
    return Codes(
        codes.dim,
        codes.plane_bits,
        tuple(np.ascontiguousarray(plane[rows]) for plane in codes.planes),
        tuple(np.ascontiguousarray(width[rows]) for width in codes.widths),
        offsets,
    )


def join(pieces: Sequence[Codes]) -> Codes:
    """Documents of several segments, one after the other, copied; at least one piece."""
    starts = np.cumsum([0, *(piece.n_tokens for piece in pieces)])
    offsets = [piece.offsets[1:] + start for piece, start in zip(pieces, starts)]
    return Codes(
        pieces[0].dim,
        pieces[0].plane_bits,
        tuple(np.concatenate(planes) for planes in zip(*(piece.planes for piece in pieces))),
        tuple(np.concatenate(widths) for widths in zip(*(piece.widths for piece in pieces))),
        np.concatenate([np.zeros(1, np.int64), *offsets]),
    )


def token_span_queries(codes: Codes, codec: RotatedCodec, n: int, rng: np.random.Generator) -> list[F32]:
    """n queries, each a run of neighbouring tokens of one document, as the codes have them."""
    runs, _ = _runs(codes, codec, n, rng)
    return runs


def paraphrase_queries(
    codes: Codes, codec: RotatedCodec, n: int, rng: np.random.Generator, n_threads: int
) -> list[F32]:
    """As `token_span_queries`, but each token gives way to the nearest of other documents, as if these had to say it.

    Runs as they stand are too easy: their own documents, and what repeats these, hold exactly their tokens and
    stand out by far, the more so the more of them there are.
    """
    runs, owners = _runs(codes, codec, n, rng)
    pool = rng.permutation(np.flatnonzero(codes.doclens))[:_N_WORDING]
    wording = gather(codes, pool)
    reworded = []
    for run, owner in zip(runs, owners):
        query = codec.prepare_query(run)
        maxima = kernels.token_maxima(query, wording, n_planes=1, n_threads=n_threads)
        maxima[pool == owner] = -np.inf
        # For each token of the run, the document that comes nearest to it, and of that, the token that does.
        nearest = gather(wording, maxima.argmax(axis=0))
        similarities = kernels.token_maxima(query, _apart(nearest), n_threads=n_threads)
        tokens = [
            start + similarities[start:stop, i].argmax()
            for i, (start, stop) in enumerate(pairwise(nearest.offsets))
        ]
        reworded.append(_decoded(nearest, np.array(tokens), codec))
    return reworded


def _apart(codes: Codes) -> Codes:
    """The same tokens, each a document of its own."""
    return replace(codes, offsets=np.arange(codes.n_tokens + 1))


def _runs(codes: Codes, codec: RotatedCodec, n: int, rng: np.random.Generator) -> tuple[list[F32], I64]:
    """Token runs, and the document of each."""
    ordinals = rng.choice(np.flatnonzero(codes.doclens), n)
    lengths = np.minimum(rng.integers(*_RUN_TOKENS, n), codes.doclens[ordinals])
    starts = codes.offsets[ordinals] + rng.integers(0, codes.doclens[ordinals] - lengths + 1)
    ends = np.cumsum(lengths)
    rows = np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1])
    return np.split(_decoded(codes, rows, codec), ends[:-1]), ordinals


def _decoded(codes: Codes, rows: I64, codec: RotatedCodec) -> F32:
    encoded = EncodedTokens(tuple(p[rows] for p in codes.planes), tuple(w[rows] for w in codes.widths))
    return codec.decode(encoded)


def word_span_queries(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    """A few neighbouring words of each text, as a user might ask for it; texts without words are left out."""
    runs = []
    for text in texts:
        words = text.split()
        if words:
            n = min(int(rng.integers(*_RUN_WORDS)), len(words))
            first = int(rng.integers(0, len(words) - n + 1))
            runs.append(" ".join(words[first : first + n]))
    return runs
