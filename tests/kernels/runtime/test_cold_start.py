"""Compiling: cached where that is possible, never stale, and announced when it takes long."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from colsearch_kernels.runtime import machine_code_cache

PACKAGE = Path(__file__).parents[3] / "kernels" / "colsearch_kernels"
_SCORE = """
import sys
import numpy as np
import colsearch_kernels as kernels
query = np.eye(4, 8, dtype=np.float32)
print(float(kernels.maxsim(query, np.ones((3, 8), np.float32), np.array([3]))[0]))
print(*sorted({"numba", "scipy"} & set(sys.modules)))
"""


@dataclass
class Outcome:
    """Of a fresh process.

    Attributes:
        score: that it computed.
        imported: of what takes long, the modules that it imported.
        messages: that it printed.
    """

    score: float
    imported: str
    messages: str


def scored(copy: Path, **environment: str) -> Outcome:
    """What a fresh process computes with a copy of the package."""
    inherited = {key: value for key, value in os.environ.items() if key != machine_code_cache.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", _SCORE],
        env={**inherited, "PYTHONPATH": str(copy), **environment},
        cwd=copy,
        capture_output=True,
        text=True,
        check=True,
    )
    score, imported = done.stdout.splitlines()
    return Outcome(float(score), imported, done.stderr)


def copied(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "colsearch_kernels", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_second_process_compiles_nothing_and_an_edit_is_never_missed(tmp_path: Path) -> None:
    copy, cache = copied(tmp_path), tmp_path / "cache"
    first = scored(copy, COLSEARCH_KERNEL_CACHE=str(cache))
    assert first.score == 4.0
    assert "compiling kernels" in first.messages
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert {path.suffix for path in files} == {".code"}
    assert scored(copy, COLSEARCH_KERNEL_CACHE=str(cache)) == Outcome(4.0, "", "")
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == files
    # In a file that no kernel stands in.
    source = copy / "colsearch_kernels" / "compiled" / "arithmetic.py"
    text = source.read_text()
    edited = text.replace("[document, query, acc]", "[document, document, acc]")
    assert edited != text
    source.write_text(edited)
    assert scored(copy, COLSEARCH_KERNEL_CACHE=str(cache)).score != 4.0


def test_cached_code_that_was_damaged_is_compiled_anew(tmp_path: Path) -> None:
    copy, cache = copied(tmp_path), tmp_path / "cache"
    scored(copy, COLSEARCH_KERNEL_CACHE=str(cache))
    whole = {path: path.read_bytes() for path in cache.iterdir()}
    for damage in (lambda b: b[:-100], lambda b: b[:500] + b"\0" + b[501:], lambda b: b"", lambda b: b[::-1]):
        for path, content in whole.items():
            path.write_bytes(damage(content))
        assert scored(copy, COLSEARCH_KERNEL_CACHE=str(cache)).score == 4.0
        # What was damaged is whole again: the next process has nothing to compile.
        assert scored(copy, COLSEARCH_KERNEL_CACHE=str(cache)) == Outcome(4.0, "", "")
        assert set(cache.iterdir()) == set(whole)


def test_a_machine_where_nothing_can_be_cached_works(tmp_path: Path) -> None:
    copy = copied(tmp_path)
    nowhere = tmp_path / "a file"
    nowhere.write_text("")
    found = scored(copy, COLSEARCH_KERNEL_CACHE=str(nowhere / "cache"))
    assert found.score == 4.0
    assert "could not be cached" in found.messages


def test_the_cache_is_the_users_own_where_the_package_cannot_be_written(tmp_path: Path) -> None:
    copy, own = copied(tmp_path), tmp_path / "own"
    # Where folders cannot be made, as in a folder of another owner.
    (copy / "colsearch_kernels" / "__pycache__").write_text("")
    for imported in ("numba scipy", ""):
        found = scored(copy, XDG_CACHE_HOME=str(own), PYTHONDONTWRITEBYTECODE="1")
        assert (found.score, found.imported) == (4.0, imported)
    assert list((own / "colsearch").glob("floats.score_documents-*.code"))


def test_numba_set_to_another_processor_behind_our_back_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / ".numba_config.yaml").write_text("cpu_name: nehalem\n")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        scored(copied(tmp_path), COLSEARCH_KERNEL_CACHE=str(tmp_path / "cache"))
    assert "KernelInputError: numba's settings say 'nehalem'" in caught.value.stderr
