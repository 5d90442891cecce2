"""The fuzzers, for a few seconds each; `python -m tests.torture --full --only fuzz` runs ten million executions."""

import pytest

from tests.support.children import run_in_child
from tests.torture.fuzz import N_EXECUTIONS, fuzz, targets


@pytest.mark.parametrize("name", N_EXECUTIONS)
def test_a_reader_gives_a_result_or_an_error_of_ours(scratch, name):
    def run() -> list[str]:
        return fuzz(dict(targets(scratch))[name], range(N_EXECUTIONS[name]))

    found = run_in_child(run, seconds=120).unwrap()
    assert not found, f"{len(found)}:\n" + "\n".join(found[:20])
