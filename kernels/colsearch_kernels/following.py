"""When to stop following candidates: once the next one is out of reach of the k best.

Out of reach: its estimate, plus the mean error of the estimates seen so far, plus z standard deviations of that
error, stays below the k-th best score. The kernels look every few candidates, since to look costs next to nothing.
"""

import numpy as np
from numba import njit

from colsearch_kernels.codes import F32, address
from colsearch_kernels.emit import read_f32, read_f64, read_i8, read_i64, write_f32, write_f64
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.integer import score_piece
from colsearch_kernels.jit import kernel

# Candidates before the first look, unless the caller says otherwise, and from one look to the next.
FIRST_LOOK, LOOK_EVERY = 48, 8
# What is kept of the errors, as float64: candidates seen, the sum of their errors, and of the errors' squares.
_SEEN, _ERRORS, _SQUARES = range(3)


class Seen:
    """Of one query: its k best scores so far, and how far estimates are off.

    Args:
        k: hits wanted.
        others: (n,) float32 scores of documents that are no candidates, but compete for the k places.
        first_look: candidates that are scored in any case.
    """

    def __init__(self, k: int, others: F32 | None = None, first_look: int = FIRST_LOOK) -> None:
        if k < 1:
            raise KernelInputError(f"k must be at least 1, not {k}")
        # Ascending, which is a heap whose root is the k-th best.
        self._best = np.full(k, -np.inf, np.float32)
        if others is not None and len(others):
            largest = np.sort(others)[-k:]
            self._best[k - len(largest) :] = largest
        self._sums = np.zeros(3)
        self._first_look = first_look

    @property
    def arguments(self) -> tuple[int, int, int, int]:
        """As the kernels take them: addresses of the best and of the sums, with their numbers between."""
        return address(self._best), len(self._best), address(self._sums), self._first_look


def margins(scores: F32, estimates: F32, k: int) -> F32:
    """(n,) float32, for each candidate by how many deviations it was out of reach when it came next.

    -inf where it was not looked at; +inf for one out of reach where estimates were never off.

    Args:
        scores, estimates: (n,) float32 of candidates in the order in which they are followed.
        k: hits wanted.
    """
    found = np.full(len(scores), -np.inf, np.float32)
    seen = Seen(k)
    _margins(  # type: ignore[no-untyped-call]
        address(scores), address(estimates), len(scores), address(found), *seen.arguments
    )
    return found


@njit(nogil=True, error_model="numpy")
def _see(score, estimate, best, k, sums):  # type: ignore[no-untyped-def]
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


@njit(nogil=True, error_model="numpy")
def _margin(estimate, best, sums):  # type: ignore[no-untyped-def]
    """Deviations by which a candidate of this estimate is out of reach."""
    n = read_f64(sums, _SEEN)
    mean = read_f64(sums, _ERRORS) / n
    distance = np.float64(read_f32(best, 0)) - np.float64(estimate) - mean
    variance = read_f64(sums, _SQUARES) / n - mean * mean
    # What is left of rounding counts as no deviation.
    if variance > 1e-12 * read_f64(sums, _SQUARES) / n:
        return distance / np.sqrt(variance)
    return np.inf if distance > 0 else -np.inf


@njit(nogil=True, error_model="numpy")
def _looks(i, first_look):  # type: ignore[no-untyped-def]
    return i >= first_look and (i - first_look) % LOOK_EVERY == 0


@kernel
def _margins(scores, estimates, n, found, best, k, sums, first_look):  # type: ignore[no-untyped-def]
    for i in range(n):
        if _looks(i, first_look):
            write_f32(found, i, np.float32(_margin(read_f32(estimates, i), best, sums)))
        _see(read_f32(scores, i), read_f32(estimates, i), best, k, sums)


@kernel
def observe(scores, estimates, first, last, z, best, k, sums, first_look):  # type: ignore[no-untyped-def]
    """Take in the scores of candidates first..last - 1; -1 - i as soon as candidate i is out of reach, else `last`."""
    for i in range(first, last):
        if _looks(i, first_look) and _margin(read_f32(estimates, i), best, sums) > z:
            return -1 - i
        _see(read_f32(scores, i), read_f32(estimates, i), best, k, sums)
    return last


@kernel
def score_until(  # type: ignore[no-untyped-def]
    layout, planes0, planes1, bytes0, bytes1, widths, scale, doclens, order, estimates, first, last,
    n_dims, query, initial, scales, n_vectors, scratch, ready, scores, z, best, k, sums, first_look,
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
