"""SQL and calls of the operating system stay in the modules that own them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

STORE = Path(__file__).parent.parent.parent / "colsearch" / "store"
MODULES = sorted(STORE.glob("*.py"))

SQL = re.compile(r"SELECT |INSERT |DELETE FROM|UPDATE |PRAGMA|CREATE |VACUUM")
# `filter` writes `where` expressions, which `tables` runs.
SQL_MODULES = {"schema.py", "tables.py", "filter.py"}

PLATFORM_MODULES = {"files.py", "lock.py", "fork.py"}
PLATFORM_IMPORTS = {"fcntl", "mmap", "shutil", "socket", "stat", "tempfile"}
# `os.PathLike` is a type, and `os.getpid` says whether a connection crossed a fork.
HARMLESS = {"PathLike", "getpid"}
# Methods of pathlib.Path that change a folder, write a file, or tell kinds of files apart.
PATH_METHODS = {
    "chmod",
    "hardlink_to",
    "iterdir",
    "lstat",
    "madvise",
    "mkdir",
    "open",
    "rename",
    "rmdir",
    "stat",
    "symlink_to",
    "touch",
    "unlink",
    "write_bytes",
    "write_text",
}
# Modules of the store whose functions have such names.
OURS = {"files", "folder"}


def sql_of(tree: ast.AST) -> Iterator[str]:
    """Strings that hold SQL, docstrings left out."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
            continue
        if SQL.search(node.value):
            yield f"line {node.lineno}: {node.value[:60]!r}"


def platform_calls_of(tree: ast.AST) -> Iterator[str]:
    """Uses of the operating system's files."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            yield from (f"line {node.lineno}: import {name}" for name in names if name in PLATFORM_IMPORTS)
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (
                f"line {node.lineno}: os.{alias.name}" for alias in node.names if alias.name not in HARMLESS
            )
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and node.attr not in HARMLESS:
            yield f"line {node.lineno}: os.{node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            yield f"line {node.lineno}: open()"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, method = ast.unparse(node.func.value), node.func.attr
            # A string's replace takes two arguments, a path's takes one.
            is_path_method = method in PATH_METHODS or (method == "replace" and len(node.args) == 1)
            if is_path_method and owner not in OURS | {"os"}:
                yield f"line {node.lineno}: {owner}.{method}()"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_sql_stays_in_its_modules(path):
    if path.name not in SQL_MODULES:
        assert list(sql_of(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_the_platform_stays_in_its_modules(path):
    if path.name not in PLATFORM_MODULES:
        assert list(platform_calls_of(ast.parse(path.read_text()))) == []


def test_sql_and_calls_of_the_platform_would_be_seen():
    sql = {
        "connection.execute('SELECT 1')": 1,
        "connection.execute(f'UPDATE {table} SET x = 1')": 1,
        "connection.execute('BEGIN')": 0,
        "'''SELECT in a docstring'''": 0,
    }
    calls = {
        "os.open(path, os.O_RDONLY)": 2,
        "os.fsync(1); os.replace(a, b)": 2,
        "import mmap": 1,
        "from fcntl import flock": 1,
        "from os import fsync": 1,
        "mapped.madvise(4)": 1,
        "temporary.replace(final)": 1,
        "path.unlink(); open(path)": 2,
        "text.replace('a', 'b'); files.replace(a, b); os.getpid(); import os": 0,
    }
    assert {code: len(list(sql_of(ast.parse(code)))) for code in sql} == sql
    assert {code: len(list(platform_calls_of(ast.parse(code)))) for code in calls} == calls


@pytest.mark.parametrize("suffix", [".seg", ".pre", ".model"])
def test_a_files_suffix_is_written_once(suffix):
    found = [
        path.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value == suffix
    ]
    assert found == ["folder.py"]
