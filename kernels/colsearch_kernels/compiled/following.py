"""Following candidates until the next one is out of reach, see following.py of the package."""

import numpy as np

from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import (
    read_f32,
    read_f64,
    read_i8,
    read_i64,
    sqrt_f64,
    write_f32,
    write_f64,
)
from colsearch_kernels.compiled.integer import score_piece
from colsearch_kernels.scoring.stop_rule import LOOK_EVERY

# What is kept of the errors, as float64: candidates seen, the sum of their errors, and of the errors' squares.
_SEEN, _ERRORS, _SQUARES = range(3)


@subroutine
def _see(score, estimate, best, k, sums):
    """Take in one score: sift it down the heap if it is among the k best. A document without tokens says nothing."""
    if score == np.float32(-np.inf):
        return
    error = np.float64(score) - np.float64(estimate)
    write_f64(sums, _SEEN, read_f64(sums, _SEEN) + 1.0)
    write_f64(sums, _ERRORS, read_f64(sums, _ERRORS) + error)
    write_f64(sums, _SQUARES, read_f64(sums, _SQUARES) + error * error)
    if score <= read_f32(best, 0):
        return
    at = 0
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        if child + 1 < k and read_f32(best, child + 1) < read_f32(best, child):
            child += 1
        if read_f32(best, child) >= score:
            break
        write_f32(best, at, read_f32(best, child))
        at = child
    write_f32(best, at, score)


@subroutine
def _margin(estimate, best, sums):
    """Deviations by which a candidate of this estimate is out of reach."""
    n = read_f64(sums, _SEEN)
    mean = read_f64(sums, _ERRORS) / n
    distance = np.float64(read_f32(best, 0)) - np.float64(estimate) - mean
    variance = read_f64(sums, _SQUARES) / n - mean * mean
    # What is left of rounding counts as no deviation.
    if variance > 1e-12 * read_f64(sums, _SQUARES) / n:
        return distance / sqrt_f64(variance)
    return np.inf if distance > 0 else -np.inf


@subroutine
def _looks(i, first_look):
    return i >= first_look and (i - first_look) % LOOK_EVERY == 0


def margins(scores, estimates, n, found, best, k, sums, first_look):
    for i in range(n):
        if _looks(i, first_look):
            write_f32(found, i, np.float32(_margin(read_f32(estimates, i), best, sums)))
        _see(read_f32(scores, i), read_f32(estimates, i), best, k, sums)


def observe(scores, estimates, first, last, z: np.float64, best, k, sums, first_look):
    """Take in the scores of candidates first..last - 1; -1 - i as soon as candidate i is out of reach, else `last`."""
    for i in range(first, last):
        if _looks(i, first_look) and _margin(read_f32(estimates, i), best, sums) > z:
            return -1 - i
        _see(read_f32(scores, i), read_f32(estimates, i), best, k, sums)
    return last


def score_until(
    layout, planes0, planes1, bytes0, bytes1, widths, scale: np.float32, doclens, order, estimates, first, last,
    n_dims, query, initial, scales, n_vectors, scratch, ready, scores, z: np.float64, best, k, sums, first_look,
):  # fmt: skip
    """scores[i] of documents order[first..last - 1], as `score_pieces` does, while they are ready and within reach.

    ready: (n_docs,) bytes, 0 where a document must not be read yet.
    Returns: -1 - i if candidate i is out of reach, i if its document is not ready, else `last`.
    """
    for i in range(first, last):
        if _looks(i, first_look) and _margin(read_f32(estimates, i), best, sums) > z:
            return -1 - i
        document = read_i64(order, i)
        if read_i8(ready, document) == 0:
            return i
        following = read_i64(order, min(i + 1, last - 1))
        score = score_piece(
            layout, read_i64(planes0, document), read_i64(planes1, document), bytes0, bytes1,
            read_i64(widths, document), scale, read_i64(doclens, document),
            n_dims, query, initial, scales, n_vectors, scratch,
            read_i64(planes0, following), read_i64(planes1, following), read_i64(widths, following),
            read_i64(doclens, following),
        )  # fmt: skip
        write_f32(scores, i, score)
        _see(score, read_f32(estimates, i), best, k, sums)
    return last
