"""After a power cut, whatever state the disk is in, acknowledged writes are there and no write is half there.

The calls of the store and of SQLite are recorded once; states are drawn at every call. Then each fsync that the
protocol needs is left out of the record in turn, and the drawn states must show a loss, which proves that the
test can see one.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ptrace, world
from tests.support.children import run_in_child
from tests.torture.oplog import Op
from tests.torture.power_cuts import record_workload, violations

pytestmark = pytest.mark.skipif(not ptrace.supported(), reason="needs ptrace on x86-64 Linux")


@pytest.fixture(scope="module")
def recorded(memory: Path) -> tuple[Path, list[Op], list[world.State]]:
    return record_workload(memory)


def test_no_power_cut_loses_what_was_acknowledged_or_shows_half_a_call(scratch, recorded):
    n_states, problems = run_in_child(
        lambda: violations(scratch, *recorded, n_per_call=0.35, seed=1), seconds=600
    ).unwrap()
    assert not problems, f"{len(problems)} of {n_states} states: {problems[0]}"
    assert n_states >= 250, n_states


def without(kind: str, path_ends: tuple[str, ...]) -> Callable[[Op], bool]:
    return lambda op: not (op.kind == kind and op.path.endswith(path_ends))


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(without("fsync", (".tmp",)), id="segment file not fsynced"),
        pytest.param(without("fsync", ("segments",)), id="segment folder not fsynced"),
        pytest.param(without("fsync", ("models",)), id="model folder not fsynced"),
        pytest.param(without("fsync", ("index.sqlite",)), id="SQLite file not fsynced"),
        pytest.param(without("fsync", ("-journal",)), id="SQLite journal not fsynced"),
        pytest.param(without("fsync", (".",)), id="index folder not fsynced"),
    ],
)
def test_a_missing_step_of_the_protocol_is_seen(scratch, recorded, kept):
    before, ops, states = recorded
    fewer = [op for op in ops if kept(op)]
    assert len(fewer) < len(ops), "the protocol has no such step"
    for seed in range(3):
        _, problems = run_in_child(
            lambda: violations(scratch, before, fewer, states, n_per_call=0.3, seed=seed, first_only=True),
            seconds=600,
        ).unwrap()
        if problems:
            return
    pytest.fail("no state shows the missing step")
