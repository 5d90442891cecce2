"""Following candidates until the next one is out of reach, see scoring/stop_rule.py."""

import numpy as np

from colsearch_kernels.arguments import (
    CHECK_EVERY,
    F32,
    U8,
    Candidates,
    DocumentTable,
    PackedQueries,
    StopRule,
)
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
from colsearch_kernels.compiled.integer import document_of_table, score_document

# Places in `StopRule.sums`.
_SCORED, _ERRORS, _SQUARES = range(3)


@subroutine
def _take_in(rule: StopRule, score: np.float32, estimate: np.float32) -> None:
    """Add one score: to the errors, and to the heap if it is among the k best. A document without tokens counts for nothing."""
    if score == np.float32(-np.inf):
        return
    best, sums = rule.best, rule.sums
    error = np.float64(score) - np.float64(estimate)
    write_f64(sums, _SCORED, read_f64(sums, _SCORED) + 1.0)
    write_f64(sums, _ERRORS, read_f64(sums, _ERRORS) + error)
    write_f64(sums, _SQUARES, read_f64(sums, _SQUARES) + error * error)
    if score <= read_f32(best, 0):
        return
    at = 0
    while True:
        child = 2 * at + 1
        if child >= rule.k:
            break
        if child + 1 < rule.k and read_f32(best, child + 1) < read_f32(best, child):
            child += 1
        if read_f32(best, child) >= score:
            break
        write_f32(best, at, read_f32(best, child))
        at = child
    write_f32(best, at, score)


@subroutine
def _margin(rule: StopRule, estimate: np.float32) -> float:
    """Deviations by which a candidate of this estimate is out of reach."""
    n = read_f64(rule.sums, _SCORED)
    mean = read_f64(rule.sums, _ERRORS) / n
    distance = np.float64(read_f32(rule.best, 0)) - np.float64(estimate) - mean
    variance = read_f64(rule.sums, _SQUARES) / n - mean * mean
    # A variance within the rounding errors of the sums counts as zero.
    if variance > 1e-12 * read_f64(rule.sums, _SQUARES) / n:
        return distance / sqrt_f64(variance)
    return np.inf if distance > 0 else -np.inf


@subroutine
def _is_checked(rule: StopRule, i: int) -> bool:
    """Whether the stop rule is checked before candidate i."""
    return i >= rule.first_check and (i - rule.first_check) % CHECK_EVERY == 0


def find_margins(scores: F32, estimates: F32, n: int, found: F32, rule: StopRule) -> None:
    """found[i] by how many deviations candidate i is out of reach, where the rule is checked; (n,) arrays."""
    for i in range(n):
        if _is_checked(rule, i):
            write_f32(found, i, np.float32(_margin(rule, read_f32(estimates, i))))
        _take_in(rule, read_f32(scores, i), read_f32(estimates, i))


def observe(candidates: Candidates, first: int, last: int, rule: StopRule) -> int:
    """Take in the scores of candidates first..last - 1; -1 - i as soon as candidate i is out of reach, else `last`."""
    for i in range(first, last):
        estimate = read_f32(candidates.estimates, i)
        if _is_checked(rule, i) and _margin(rule, estimate) > rule.deviations:
            return -1 - i
        _take_in(rule, read_f32(candidates.scores, i), estimate)
    return last


def score_until(
    table: DocumentTable,
    candidates: Candidates,
    first: int,
    last: int,
    queries: PackedQueries,
    scratch: U8,
    rule: StopRule,
) -> int:
    """Score candidates first..last - 1, as `score_scattered` does, while they are readable and within reach.

    Returns: -1 - i if candidate i is out of reach, i if its document is not readable, else `last`.
    """
    for i in range(first, last):
        estimate = read_f32(candidates.estimates, i)
        if _is_checked(rule, i) and _margin(rule, estimate) > rule.deviations:
            return -1 - i
        row = read_i64(candidates.rows, i)
        if read_i8(candidates.readable, row) == 0:
            return i
        document = document_of_table(table, row)
        following = document_of_table(table, read_i64(candidates.rows, min(i + 1, last - 1)))
        score = score_document(table.format, document, following, queries, scratch)
        write_f32(candidates.scores, i, score)
        _take_in(rule, score, estimate)
    return last
