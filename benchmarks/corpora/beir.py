"""Reads a collection in BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv; plain, .gz or .xz."""

import gzip
import hashlib
import json
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO


class CollectionError(ValueError):
    """A folder is not a BEIR collection; the message names the file or line."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Texts, the queries of one split, and their judgements.

    Attributes:
        documents, queries: id -> text; a document's text begins with its title.
        qrels: query id -> document id -> relevance > 0; only queries with a relevant document.
        metadata: document id -> further fields of the corpus.
    """

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    metadata: Mapping[str, Mapping[str, Any]]

    @property
    def digest(self) -> str:
        """A hash of texts and queries, so that a changed or shortened collection counts as another one."""
        content = json.dumps([list(self.documents.items()), list(self.queries.items())])
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    def head(self, n_documents: int, n_queries: int) -> "Collection":
        """A small version for smoke runs: the first queries, their relevant documents and some others."""
        queries = dict(list(self.queries.items())[:n_queries])
        qrels = {query: self.qrels[query] for query in queries}
        wanted = {document for judged in qrels.values() for document in judged}
        filler = (document for document in self.documents if document not in wanted)
        chosen = wanted | {document for document, _ in zip(filler, range(max(0, n_documents - len(wanted))))}
        return Collection(
            self.name,
            {document: text for document, text in self.documents.items() if document in chosen},
            queries,
            qrels,
            {document: fields for document, fields in self.metadata.items() if document in chosen},
        )


def read_collection(folder: Path, *, split: str = "test", name: str | None = None) -> Collection:
    """Read a collection.

    Raises: CollectionError: if a file is missing or a judgement names an unknown query.
    """
    documents: dict[str, str] = {}
    metadata: dict[str, Mapping[str, Any]] = {}
    for record in _records(folder, "corpus"):
        document = str(record["_id"])
        documents[document] = f"{record.get('title') or ''} {record['text']}".strip()
        metadata[document] = record.get("metadata") or {}
    texts = {str(record["_id"]): str(record["text"]) for record in _records(folder, "queries")}
    qrels = read_qrels(folder / "qrels" / f"{split}.tsv")
    unknown = [query for query in qrels if query not in texts]
    if unknown:
        raise CollectionError(f"{folder}: {split}.tsv judges query {unknown[0]!r}, which queries.jsonl lacks")
    queries = {query: text for query, text in texts.items() if query in qrels}
    return Collection(name or folder.name, documents, queries, qrels, metadata)


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Relevant documents by query, from columns query-id, corpus-id and score, with or without a header."""
    if not path.exists():
        raise CollectionError(f"no judgements {path}")
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split("\t")
        if number == 1 and not fields[-1].lstrip("-").isdigit():
            continue
        if len(fields) < 3:
            raise CollectionError(f"{path}:{number}: expected query, document and score, got {line!r}")
        if int(fields[-1]) > 0:
            qrels.setdefault(fields[0], {})[fields[-2]] = int(fields[-1])
    return qrels


def _records(folder: Path, stem: str) -> Iterator[dict[str, Any]]:
    for suffix, opener in (("", open), (".gz", gzip.open), (".xz", lzma.open)):
        path = folder / f"{stem}.jsonl{suffix}"
        if path.exists():
            lines: TextIO
            with opener(path, "rt", encoding="utf-8") as lines:
                yield from (json.loads(line) for line in lines if line.strip())
            return
    raise CollectionError(f"{folder} has no {stem}.jsonl (nor .gz, .xz): not a BEIR collection")
