"""Folders in memory, where an fsync costs nothing: the tests check the order of calls, not the disk."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.memory import MEMORY_FOLDER


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder of its own for one test file."""
    folder = Path(
        tempfile.mkdtemp(prefix="colsearch-torture-", dir=MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None)
    )
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def scratch(memory: Path) -> Iterator[Path]:
    """A folder of its own for one test."""
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
