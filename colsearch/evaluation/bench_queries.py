"""The queries of `colsearch bench`: from the user's file, or made of the index's own texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from colsearch.errors import ConfigError
from colsearch.formats.queries import read_queries
from colsearch.prefilter.synthetic_queries import word_span_queries

if TYPE_CHECKING:
    from colsearch.index import ColIndex
    from colsearch.query.request import Query


def queries_from_file(path: Path) -> list[Query]:
    """Query texts of a BEIR folder, .jsonl or .tsv file, or token vectors of a .npy file.

    Args:
        path: a .npy file holds one array of shape (n_queries, n_tokens, dim).
    Raises: DocumentError: naming file and line. ConfigError: if a .npy file holds anything else.
    """
    if path.suffix != ".npy":
        return [text for _, text in read_queries(path)]
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if vectors.ndim != 3:
        raise ConfigError(f"{path} holds an array of shape {vectors.shape}, not (n_queries, n_tokens, dim)")
    return list(vectors)


def queries_from_texts(index: ColIndex, n: int, *, seed: int = 0) -> list[Query]:
    """Synthetic queries: a few neighbouring words of each of up to n random documents.

    Raises: ConfigError: if the index holds no texts, or has no encoder to read them with.
    """
    if index.config.encoder == "":
        raise ConfigError(
            f"{index.path} was built from vectors, so bench needs --queries FILE.npy, token vectors of shape "
            "(n_queries, n_tokens, dim)"
        )
    rng = np.random.default_rng(seed)
    ids = list(index)
    texts = [index.get(ids[position]).text or "" for position in rng.permutation(len(ids))[:n]]
    return list(word_span_queries(texts, rng))
