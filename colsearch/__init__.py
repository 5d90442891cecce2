"""colsearch: multi-vector, late-interaction (ColBERT-style) retrieval."""

from colsearch.errors import ColsearchError
from colsearch.index import ColIndex
from colsearch.query.explain import Explanation
from colsearch.query.rerank import rerank
from colsearch.types import Document, Hit, Hits, Profile, TokenVectors

__version__ = "0.1.0"
__all__ = [
    "ColIndex",
    "ColsearchError",
    "Document",
    "Explanation",
    "Hit",
    "Hits",
    "Profile",
    "TokenVectors",
    "rerank",
]
