"""Damaged files: a typed error or the right answer, never a wrong hit, a signal or a hang; `check` finds it."""

from collections import Counter
from pathlib import Path

import pytest

from tests.torture import damage
from tests.torture.damage import SQLITE
from tests.torture.damage_cases import run_cases
from tests.torture.subject import Subject

# The sample has at most this many cases of each kind in SQLite's file, and as many in the other files.
N_BIT_FLIPS, N_OTHERS, N_DRAWN = 40, 8, 1200


@pytest.fixture(scope="module")
def subject(memory: Path) -> Subject:
    return Subject(memory)


def sample_of_every_kind(subject: Subject) -> list[int]:
    """The numbers of the first few cases of each kind, in SQLite's file and in the other files."""
    drawn: Counter[tuple[str, bool]] = Counter()
    numbers = []
    for number in range(N_DRAWN):
        case = damage.draw(number, subject.files, subject.stale)
        kind = case.kind, case.name == SQLITE
        if drawn[kind] < (N_BIT_FLIPS if case.kind == "bit flip" else N_OTHERS):
            drawn[kind] += 1
            numbers.append(number)
    # A segment's file never changes, so a stale block of it is no damage and is never drawn.
    assert len(drawn) == 2 * len(damage.KINDS) - 1 and min(drawn.values()) >= 4, drawn
    return numbers


def test_damage_is_seen_and_never_answers_wrong(scratch, subject):
    numbers = sample_of_every_kind(subject)
    ends, wrong = run_cases(numbers, subject, scratch)
    assert not wrong, f"{len(wrong)} complaints, {ends}:\n" + "\n".join(wrong[:20])
    assert sum(ends.values()) == len(numbers)
