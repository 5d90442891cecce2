"""The calibration figure on simulated recall that is known."""

import numpy as np
import pytest

from benchmarks.prefilter.figure_calibration import (
    MADE_UP,
    REAL,
    SimulatedCollection,
    SimulatedRecall,
    draws,
    floor,
)
from colsearch.prefilter.calibration import DEPTHS, REAL_MISSES, Z_STEPS

N_STEPS = len(Z_STEPS)


def simulated_recall(*recall_of_each: np.ndarray) -> SimulatedRecall:
    """Queries that find these shares at the steps of z; each step scores one more document."""
    n_scored = np.tile(np.arange(1, N_STEPS + 1), (len(recall_of_each), 1))
    return SimulatedRecall(np.array(recall_of_each, np.float32), n_scored)


def simulated(name: str, real: SimulatedRecall, made_up: SimulatedRecall) -> SimulatedCollection:
    return SimulatedCollection(
        name, 5_000, {(kind, k): w for k in DEPTHS for kind, w in ((REAL, real), (MADE_UP, made_up))}
    )


def test_real_queries_find_what_they_find_at_the_step_that_the_rule_picks() -> None:
    real = simulated_recall(np.linspace(0, 1, N_STEPS), np.zeros(N_STEPS))
    perfect = simulated_recall(np.ones(N_STEPS))
    rows = [row for row in draws(simulated("easy", real, perfect), seed=0) if row["k"] == 10]
    # If synthetic queries miss nothing, the floor decides: z = 1.5, 2.5 and 3.75, at four steps per unit from -1.
    steps = [10, 14, 19]
    assert [row["found"] for row in rows] == pytest.approx([step / 36 / 2 for step in steps], abs=1e-4)
    assert [row["n_scored"] for row in rows] == [row["n_scored_p95"] for row in rows] == [11, 15, 20]
    assert {row["all_scanned"] for row in rows} == {0}


def test_if_no_z_suffices_all_documents_are_scored_and_all_is_found() -> None:
    lost = simulated_recall(*[np.ones(N_STEPS)] * 3, np.full(N_STEPS, 0.5))
    found = draws(simulated("hard", lost, lost), seed=0)
    rows = {row["promised"]: row for row in found if row["k"] == 10}
    assert rows[0.99]["all_scanned"] == 1 and rows[0.99]["n_scored"] == 5_000 and rows[0.99]["found"] == 1
    # One query in four loses half of its hits; some draws of 128 queries hold few such queries.
    assert 0.5 < rows[0.9]["all_scanned"] < 1
    assert rows[0.9]["found"] == pytest.approx(1 - 0.125 * (1 - rows[0.9]["all_scanned"]), abs=1e-4)
    assert rows[0.9]["found_in_worst"] == pytest.approx(0.875)


def test_the_floor_holds_where_the_other_collection_misses_no_more() -> None:
    at = np.isin(Z_STEPS, np.arange(9))
    recalls = np.ones(N_STEPS)
    recalls[at] = 1 - REAL_MISSES[0]
    worse = recalls.copy()
    worse[np.searchsorted(Z_STEPS, 3)] -= 0.01
    better = simulated_recall((1 + recalls) / 2)
    read_off = [simulated("one", better, better), simulated("two", simulated_recall(recalls), better)]
    unseen = [simulated("other", simulated_recall(worse), better), simulated("third", better, better)]
    rows = [row for row in floor(read_off, unseen) if row["k"] == 10]
    rows, third = rows[:9], rows[9:]
    assert [row["largest_missed"] for row in rows] == pytest.approx(REAL_MISSES[0], abs=1e-5)
    assert {row["largest_of"] for row in rows} == {"two, 5,000"}
    assert rows[3]["missed"] == pytest.approx(REAL_MISSES[0, 3] + 0.01, abs=1e-5)
    assert not rows[3]["holds"]
    assert [row["holds"] for row in third] == [True] * 9
