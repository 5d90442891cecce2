"""Compiling: cached where that is possible, never stale, and announced when it takes long."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "kernels" / "colsearch_kernels"
_SCORE = """
import logging, sys
import numpy as np
import colsearch_kernels as kernels
query = np.eye(4, 8, dtype=np.float32)
print(float(kernels.maxsim(query, np.ones((3, 8), np.float32), np.array([3]))[0]))
"""


def scored(copy: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The score that a fresh process computes with a copy of the package."""
    inherited = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    return subprocess.run(
        [sys.executable, "-c", _SCORE],
        env={**inherited, "PYTHONPATH": str(copy), **environment},
        cwd=copy,
        capture_output=True,
        text=True,
        check=True,
    )


def copied(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "colsearch_kernels", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_second_process_compiles_nothing_and_an_edit_is_never_missed(tmp_path: Path) -> None:
    copy, cache = copied(tmp_path), tmp_path / "cache"
    first = scored(copy, NUMBA_CACHE_DIR=str(cache))
    assert float(first.stdout) == 4.0
    assert "compiling kernels" in first.stderr
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb*")}
    assert files
    second = scored(copy, NUMBA_CACHE_DIR=str(cache))
    assert float(second.stdout) == 4.0
    assert not second.stderr
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb*")} == files
    # In a file that none of the cached functions stands in.
    emit = copy / "colsearch_kernels" / "arithmetic.py"
    text = emit.read_text()
    edited = text.replace("[document, query, acc]", "[document, document, acc]")
    assert edited != text
    emit.write_text(edited)
    assert float(scored(copy, NUMBA_CACHE_DIR=str(cache)).stdout) != 4.0


def test_a_machine_where_nothing_can_be_cached_works(tmp_path: Path) -> None:
    copy = copied(tmp_path)
    nowhere = tmp_path / "a file"
    nowhere.write_text("")
    found = scored(
        copy, NUMBA_CACHE_DIR=str(nowhere / "cache"), HOME=str(nowhere), XDG_CACHE_HOME=str(nowhere)
    )
    assert float(found.stdout) == 4.0
