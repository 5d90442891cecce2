"""After any damage, `repair` keeps provably good documents and names the lost ones; the index works again."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.errors import DamagedError
from colsearch.store.container import Container
from colsearch.store.repair import repair_folder
from colsearch.store.segment import Segment
from tests.support import world
from tests.support.children import run_in_child
from tests.torture import damage
from tests.torture.damage import SQLITE, Damage
from tests.torture.subject import Subject


@pytest.fixture(scope="module")
def subject(memory: Path) -> Subject:
    return Subject(memory)


def repaired_wrongly(case: Damage, path: Path, subject: Subject) -> str | None:
    """The first problem with the index after a repair, or None."""
    expected = _provably_good(case, path, subject)
    report = repair_folder(path)
    if not report.ok:
        return f"check says {report.problems}"
    with ColIndex.open(path, n_threads=1, verify="full") as index:
        kept = {id: index.get(id).metadata["version"] for id in index}
        if problem := world.mismatch(index, kept):
            return problem
    lost = {id for id in expected if kept.get(id) != expected[id]}
    if lost:
        return f"{lost} were good and are gone; {report.repaired}"
    unnamed = {id for id in subject.state if id not in kept} - set(report.damaged_ids)
    if unnamed:
        return f"{unnamed} are gone and not named"
    world.assert_writer_works(path, kept)
    return None


def _provably_good(case: Damage, path: Path, subject: Subject) -> world.State:
    """Live documents without a damaged byte, found by comparing blocks, unlike the repair's way."""
    if not case.name.endswith(".seg"):
        return subject.state
    whole = Segment(path.parent / "whole" / case.name)
    own = {whole.id(n) for n in range(whole.n_docs)}
    others = {id: version for id, version in subject.state.items() if id not in own}
    if case.content is None or len(case.content) != len(subject.files[case.name]):
        return others
    before = subject.files[case.name]
    places = [n for n, (old, new) in enumerate(zip(before, case.content)) if old != new]
    if any(_section(whole.file, place) not in {"plane0", "plane1"} for place in places):
        return others
    return {
        id: version for id, version in subject.state.items() if id not in own or not _hit(whole, id, places)
    }


def _section(file: Container, place: int) -> str:
    return file.section_of((place - 4 * 4096) // 4096) if place >= 4 * 4096 else "header"


def _hit(segment: Segment, id: str | int, places: list[int]) -> bool:
    ordinal = next(n for n in range(segment.n_docs) if segment.id(n) == id)
    tokens = segment.offsets[ordinal], segment.offsets[ordinal + 1]
    for i, plane in enumerate(segment.planes):
        start = 4 * 4096 + segment.file.first_block(f"plane{i}") * 4096
        first, last = (start + int(n) * plane.shape[1] for n in tokens)
        if any(first // 4096 <= place // 4096 <= (last - 1) // 4096 for place in places):
            return True
    return False


def test_a_repair_keeps_all_that_is_good_and_names_the_rest(scratch, subject):
    n_cases = int(os.environ.get("COLSEARCH_REPAIR_CASES", "80"))

    def cases(numbers: range) -> list[str]:
        wrong = []
        for number in numbers:
            case = damage.draw(number, subject.files, subject.stale)
            if case.kind == "stale file" and case.name == SQLITE:
                # SQLite's file at an earlier moment is an older state, and undamaged.
                continue
            path = subject.folder / "repaired"
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            case.apply(subject.files, path)
            problem = repaired_wrongly(case, path, subject)
            if problem is not None:
                wrong.append(f"case {number}, {case}: {problem}")
        return wrong

    for start in range(0, n_cases, 40):
        wrong = run_in_child(lambda: cases(range(start, min(start + 40, n_cases))), seconds=300).unwrap()
        assert not wrong, "\n".join(wrong[:10])


def test_an_index_of_which_nothing_is_left_is_no_success(scratch, subject):
    (scratch / "segments").mkdir()
    (scratch / SQLITE).write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(DamagedError, match=r"neither index\.sqlite nor a segment"):
        repair_folder(scratch)


def test_a_missing_folder_of_models_is_made_again(tmp_path):
    with ColIndex.create(tmp_path / "index", dim=8) as index:
        index.add_vectors([np.ones((2, 8), np.float32)], ids=["kept"])
    (tmp_path / "index" / "models").rmdir()
    with pytest.raises(DamagedError, match=r"models is missing.*--repair"):
        ColIndex.open(tmp_path / "index")
    assert repair_folder(tmp_path / "index").ok
    with ColIndex.open(tmp_path / "index") as index:
        assert list(index) == ["kept"]
        index.add_vectors([np.ones((1, 8), np.float32)], ids=["new"])
        assert len(index) == 2
