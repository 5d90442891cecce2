"""The examples run from the repository's root, need only the installed package, and show what they claim."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


# Encoding the documents is all of this example's time, so the test takes fewer.
RERANK_FEWER = """
from examples import rerank_any_retriever as example
example.N_DOCUMENTS, example.N_QUERIES = 60, 10
example.main()
"""


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (
            ["-m", "examples.quickstart"],
            ["danube  The Danube", "before 1950: ['penicillin']", "river            -> river"],
        ),
        (["-m", "examples.vectors_only"], ["best: doc7", "replaced: True", "torch was loaded: False"]),
        (["-c", RERANK_FEWER], ["BM25       nDCG@10", "reranked   nDCG@10"]),
    ],
    ids=["quickstart", "vectors_only", "rerank_any_retriever"],
)
def test_an_example_runs(arguments: list[str], shown: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    for line in shown:
        assert line in done.stdout


def importable() -> set[str]:
    """Top-level modules that every installation has: the standard library, ours, and our dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}
    return sys.stdlib_module_names | {"colsearch", "colsearch_kernels"} | {n.replace("-", "_") for n in names}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_imports_only_what_an_installation_has(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("" if node.level else (node.module or "").split(".")[0])
    assert imported <= importable()


def test_the_demo_knows_the_collections_that_it_names() -> None:
    from examples import demo

    collection = demo.read_collection(demo.DATA / "scifact")
    assert (len(collection.documents), len(collection.queries)) == (5183, 300)
    assert collection.queries.keys() == collection.qrels.keys()
    assert {id for judged in collection.qrels.values() for id in judged} <= collection.documents.keys()
