"""Groups of documents that count once each, by their best one; passages count as their document (MaxP)."""

from collections.abc import Callable
from dataclasses import replace

from colsearch.errors import ConfigError
from colsearch.types import Hit, Hits

# How many times as many documents as groups are asked for; the same again if these make too few groups.
_DOCS_PER_GROUP = 4


def best_of_groups(search: Callable[[int], Hits], k: int, field: str) -> Hits:
    """The k groups whose best document is best; a hit is that document, with the group's name as its id.

    Args:
        search: gives the n best documents.
        field: the metadata field whose value names the group; a document without it is a group of its own.
    Raises: ConfigError: if a value is neither a string nor an integer.
    Source: scoring a document as its best passage is MaxP, Dai & Callan 2019.
    """
    n = k * _DOCS_PER_GROUP
    while True:
        hits = search(n)
        groups: dict[str | int, Hit] = {}
        for hit in hits:
            name = hit.metadata.get(field, hit.id)
            if isinstance(name, bool) or not isinstance(name, str | int):
                raise ConfigError(f"document {hit.id!r} has {field}={name!r}; groups are strings or integers")
            groups.setdefault(name, replace(hit, id=name))
        if len(groups) >= k or len(hits) < n:
            best = Hits(list(groups.values())[:k])
            best.profile = hits.profile
            return best
        n *= _DOCS_PER_GROUP
