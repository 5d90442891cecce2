"""The SQLite file as a whole: how its tables are defined, and the statements that concern all of them.

`tables` holds every other statement of the store. FORMAT.md tells what the tables mean.
"""

import sqlite3
from contextlib import closing

SCHEMA_VERSION = 1
# A contentless full-text index: it holds the words of the texts, and the segments hold the texts.
TEXT_INDEX = "fts5 (text, content='', tokenize='porter unicode61')"
SCHEMA = f"""
CREATE TABLE state (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (first_doc_no INTEGER PRIMARY KEY, name TEXT NOT NULL, n_docs INTEGER NOT NULL,
    n_tokens INTEGER NOT NULL, n_bytes INTEGER NOT NULL, staged INTEGER NOT NULL);
CREATE TABLE documents (doc_no INTEGER PRIMARY KEY, id TEXT NOT NULL);
CREATE INDEX documents_by_id ON documents (id);
CREATE TABLE tombstones (doc_no INTEGER PRIMARY KEY);
CREATE TABLE replaced (doc_no INTEGER PRIMARY KEY);
CREATE TABLE fields (path TEXT NOT NULL, kind TEXT NOT NULL, value NOT NULL, doc_no INTEGER NOT NULL,
    PRIMARY KEY (path, kind, value, doc_no)) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING {TEXT_INDEX};
CREATE TABLE models (name TEXT PRIMARY KEY, n_bytes INTEGER NOT NULL, current INTEGER NOT NULL,
    notes TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE prefilters (segment TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL,
    n_bytes INTEGER NOT NULL, PRIMARY KEY (segment, model)) WITHOUT ROWID;
"""


def prepare_new(connection: sqlite3.Connection) -> None:
    """Settings of a connection that writes a new file."""
    # A rollback journal, not WAL: a closed WAL database does not open in a read-only folder. With a rollback
    # journal, removing the journal is the commit. FULL leaves that removal to the next sync of the folder, so
    # a power cut would bring the journal back and undo acknowledged writes, whose replaced files a merge may
    # have removed. EXTRA syncs the folder.
    connection.execute("PRAGMA synchronous = EXTRA")


def prepare_existing(connection: sqlite3.Connection) -> None:
    """Settings of a connection to a file that may be damaged or hostile."""
    prepare_new(connection)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


# A number that changes when another connection commits, but not with commits of this one.
DATA_VERSION = "PRAGMA data_version"


def create(connection: sqlite3.Connection) -> None:
    """Make all tables, in one transaction."""
    connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")


def vacuum(connection: sqlite3.Connection) -> None:
    """Rewrite the file without what was deleted; must not be called inside a transaction."""
    connection.execute("VACUUM")


def integrity_problems(connection: sqlite3.Connection) -> list[str]:
    """SQLite's own sentences on what is wrong with the file."""
    lines = [line for (line,) in connection.execute("PRAGMA integrity_check")]
    return [] if lines == ["ok"] else lines


def has_right_schema(connection: sqlite3.Connection) -> bool:
    """Whether the tables are defined as `schema` defines them."""
    sql = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(SCHEMA)
        return connection.execute(sql).fetchall() == fresh.execute(sql).fetchall()
