"""Long documents as passages that are searched one by one and count as their document (MaxP)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from colsearch.errors import ConfigError
from colsearch.ingest.passages import TokenSpans, split_passages
from colsearch.types import Document, Hit, Hits

# Metadata of a passage: its document's id, and its number among that document's passages.
PASSAGE_OF, PASSAGE = "passage_of", "passage"
_FIRST_FACTOR = 4


def in_passages(documents: Iterable[Document], n_tokens: int, token_spans: TokenSpans) -> Iterator[Document]:
    """Documents cut into passages of at most n_tokens tokens, with ids such as "doc-7#0".

    Each carries its document's metadata, `passage_of` and `passage`.
    """
    for document in documents:
        text = document.text or ""
        for number, (start, end) in enumerate(split_passages(text, n_tokens, token_spans)):
            own = {**document.metadata, PASSAGE_OF: document.id, PASSAGE: number}
            yield Document(f"{document.id}#{number}", text[start:end], own)


def best_of_groups(search: Callable[[int], Hits], k: int, field: str) -> Hits:
    """The k groups whose best document is best; a hit is that document, under the group's name as its id.

    Args:
        search: gives the so many best documents.
        field: of the metadata, whose value names the group; a document without it is a group of its own.
    Raises: ConfigError: if a value is neither a string nor an integer.
    Source: scoring a document as its best passage is MaxP, Dai & Callan 2019.
    """
    n = k * _FIRST_FACTOR
    while True:
        hits = search(n)
        best: dict[str | int, Hit] = {}
        for hit in hits:
            name = hit.metadata.get(field, hit.id)
            if isinstance(name, bool) or not isinstance(name, str | int):
                raise ConfigError(f"document {hit.id!r} has {field}={name!r}; groups are strings or integers")
            best.setdefault(name, replace(hit, id=name))
        if len(best) >= k or len(hits) < n:
            found = Hits(list(best.values())[:k])
            found.profile = hits.profile
            return found
        n *= _FIRST_FACTOR
