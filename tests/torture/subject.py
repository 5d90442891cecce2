"""The index that torture tests damage, and the rows of its SQLite file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from colsearch import ColIndex
from tests.support import world
from tests.torture import damage
from tests.torture.damage import SQLITE, Files

# Address space that a process may take in addition to its present one while it reads a damaged index.
MORE_MEMORY_BYTES = 1 << 30


class Subject:
    """The index that is damaged: its files and state, now and at an earlier moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "whole"
        state = world.build_base(path)
        earlier = damage.read_files(path), state
        with ColIndex.open(path, n_threads=1) as index:
            for step in world.STEPS[:4]:
                step.run(index)
                state = step.model(state)
                if step.name == "delete":
                    earlier = damage.read_files(path), state
        with ColIndex.open(path, n_threads=1) as index:
            parts = index._store.snapshot().segments
            assert len(parts) >= 3 and any(part.live is not None for part in parts)
        self.files: Files = damage.read_files(path)
        self.state = state
        self.stale, self.stale_state = earlier
        self.rows = rows_of(path / SQLITE)
        assert any(name.endswith(".pre") for name in self.files)


def rows_of(path: Path) -> dict[str, list[Any]] | None:
    """All rows of the SQLite file, and the words of its text index; None if it cannot be read."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab (main, texts, instance)")
            names = ["words", "sqlite_master"] + [
                name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            # The same words may lie in other pages of a text index.
            names = [name for name in names if name not in {"texts", "texts_data", "texts_idx"}]
            return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}
        except (sqlite3.Error, UnicodeDecodeError):
            return None
