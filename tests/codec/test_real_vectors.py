"""The error of each choice of planes on real token vectors (MiniLM on SQuAD; see tests/data/README.md)."""

from pathlib import Path

import numpy as np
import pytest

from colsearch.codec.rotated import RotatedCodec
from colsearch_kernels import reference
from colsearch_kernels.layout.codes import Codes

QUERY_LENS = [15, 8, 12, 9, 16, 25, 15, 9]
# A document is a window of eight tokens, so that there are 113 of them to rank.
WINDOW = 8
TOP = 10


def read() -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    vectors = np.load(Path(__file__).parents[1] / "data" / "minilm_squad_128.npy").astype(np.float32)
    tokens, queries = vectors[: -sum(QUERY_LENS)], vectors[-sum(QUERY_LENS) :]
    doclens = np.full(len(tokens) // WINDOW, WINDOW, np.int64)
    return tokens, np.split(queries, np.cumsum(QUERY_LENS)[:-1]), doclens


# Per (planes, planes read): the least allowed overlap of the ten best with float32, and the largest allowed
# root mean square error of a score per query token. Measured values in this order: 1.0 .0004, .975 .0041,
# .95 .0164, .8625 .0402, .975 .0041, 1.0 .0004, .875 .0181, 1.0 .0013.
BOUNDS = {
    ((8,), 1): (0.98, 0.0006),
    ((4,), 1): (0.95, 0.005),
    ((2,), 1): (0.90, 0.019),
    ((1,), 1): (0.80, 0.048),
    ((4, 4), 1): (0.95, 0.005),
    ((4, 4), 2): (0.98, 0.0006),
    ((2, 6), 1): (0.83, 0.022),
    ((2, 6), 2): (0.98, 0.0017),
}


def measure(planes: tuple[int, ...], n_planes: int) -> tuple[float, float]:
    """Overlap of the ten best windows with float32, and the root mean square error of a score per token."""
    tokens, queries, doclens = read()
    codec = RotatedCodec(128, planes)
    encoded = codec.encode(tokens)
    offsets = np.concatenate([[0], np.cumsum(doclens)])
    codes = Codes(128, planes, encoded.planes, encoded.widths, offsets)
    overlaps, errors = [], []
    for query in queries:
        exact = reference.maxsim(query, tokens, doclens)
        estimate = reference.score_codes(codec.prepare_query(query), codes, n_planes=n_planes)
        best = [set(np.argsort(-scores, kind="stable")[:TOP]) for scores in (exact, estimate)]
        overlaps.append(len(best[0] & best[1]) / TOP)
        errors.append((estimate - exact) / len(query))
    return float(np.mean(overlaps)), float(np.sqrt(np.mean(np.square(np.concatenate(errors)))))


@pytest.mark.parametrize(("planes", "n_planes"), BOUNDS)
def test_codes_keep_the_ranking_of_float32(planes: tuple[int, ...], n_planes: int) -> None:
    overlap, error = measure(planes, n_planes)
    least_overlap, largest_error = BOUNDS[planes, n_planes]
    assert overlap >= least_overlap
    assert error <= largest_error


def test_the_unbiased_width_beats_the_nearest_grid_point_at_two_bits() -> None:
    tokens, queries, doclens = read()
    codec = RotatedCodec(128, (2,))
    decoded = codec.decode(codec.encode(tokens))
    shrunk = decoded / np.square(decoded).sum(axis=1, keepdims=True)
    errors = np.zeros(2)
    for query in queries:
        exact = reference.maxsim(query, tokens, doclens)
        best = np.argsort(-exact)[:TOP]
        for i, rows in enumerate((decoded, shrunk)):
            errors[i] += np.abs(reference.maxsim(query, rows, doclens) - exact)[best].mean()
    assert errors[0] < 0.5 * errors[1]
