"""The examples run from the repository's root, and print what they are there to show."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("quickstart", ["danube  The Danube", "before 1950: ['penicillin']", "river            -> river"]),
        ("vectors_only", ["best: doc7", "replaced: True", "torch was loaded: False"]),
        ("rerank_any_retriever", ["BM25       nDCG@10", "reranked   nDCG@10"]),
    ],
)
def test_an_example_runs(name: str, shown: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for line in shown:
        assert line in done.stdout
