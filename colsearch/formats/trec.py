"""TREC run files, which hold the rankings of any retriever, and relevance judgements (qrels).

A run has one line per hit: `query Q0 document rank score tag`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO

from colsearch.errors import DocumentError


def read_run(path: Path) -> dict[str, list[str]]:
    """Query id -> document ids by rank, best first.

    Raises: DocumentError: naming file and line.
    """
    if path.exists() and not path.is_file():
        raise DocumentError(f"{path} is not a plain file")
    ranked: dict[str, list[tuple[int, str]]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            parts = line.split()
            if not parts:
                continue
            if len(parts) != 6 or not parts[3].isdigit():
                raise DocumentError(
                    f"{path}:{number}: a run line is `query Q0 document rank score tag`, not {line!r:.80}"
                )
            ranked.setdefault(parts[0], []).append((int(parts[3]), parts[2]))
    return {query: [document for _, document in sorted(hits)] for query, hits in ranked.items()}


def write_run(
    run: Mapping[str, Iterable[tuple[str, float]]], file: TextIO, *, tag: str = "colsearch"
) -> None:
    """Write a run file, with ranks from 1.

    Args:
        run: query id -> (document id, score), best first.
        tag: names the retriever in every line.
    """
    for query, hits in run.items():
        for rank, (document, score) in enumerate(hits, start=1):
            file.write(f"{query} Q0 {document} {rank} {score:.6f} {tag}\n")


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Query id -> document id -> relevance, from a BEIR qrels file with or without a header.

    Raises: DocumentError: naming file and line.
    """
    if not path.is_file():
        raise DocumentError(f"{path}: no such file of judgements")
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        parts = line.split("\t")
        if len(parts) == 3 and parts[2].lstrip("-").isdigit():
            qrels.setdefault(parts[0], {})[parts[1]] = int(parts[2])
        elif number > 1:
            raise DocumentError(
                f"{path}:{number}: a judgement is query, document and grade, not {line!r:.80}"
            )
    return qrels
