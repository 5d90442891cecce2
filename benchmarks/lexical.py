"""BM25 by SQLite's FTS5: the baseline that needs no model."""

import re
import sqlite3
from collections.abc import Sequence


def bm25_best(documents: Sequence[str], queries: Sequence[str], depth: int) -> list[list[int]]:
    """Rows of the best documents of each query, best first.

    BM25 has k1 = 1.2 and b = .75. Words are Porter stems, and a document matches with any word of the query.
    """
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = 'porter unicode61')")
        database.executemany("INSERT INTO texts(rowid, text) VALUES (?, ?)", enumerate(documents))
        return [_best(database, query, depth) for query in queries]


def _best(database: sqlite3.Connection, query: str, depth: int) -> list[int]:
    words = re.findall(r"\w+", query)
    if not words:
        return []
    matched = " OR ".join(f'"{word}"' for word in words)
    rows = database.execute(
        "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY bm25(texts), rowid LIMIT ?", (matched, depth)
    )
    return [row for (row,) in rows]
