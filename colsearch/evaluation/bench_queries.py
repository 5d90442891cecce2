"""The queries of `colsearch bench`: from the user's file, or made of the index's own texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from colsearch.errors import ConfigError
from colsearch.formats.documents import read_queries

if TYPE_CHECKING:
    from colsearch.index import ColIndex
    from colsearch.query.request import Query

# Words of a made query: between a search box's and a question's.
_N_WORDS = (3, 13)


def queries_from_file(path: Path) -> list[Query]:
    """Texts of a BEIR folder, .jsonl or .tsv file; token vectors (n_queries, n_tokens, dim) of a .npy file.

    Raises: DocumentError; ConfigError: if the .npy file holds anything else.
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
    """Some neighbouring words of each of up to n random documents, as somebody might ask for them.

    Raises: ConfigError: if the index holds no texts, or no encoder to read them with.
    """
    if index.config.encoder == "":
        raise ConfigError(
            f"{index.path} was built from vectors, so bench needs --queries FILE.npy, token vectors of shape "
            "(n_queries, n_tokens, dim)"
        )
    rng = np.random.default_rng(seed)
    ids = list(index)
    texts = (index.get(ids[i]).text or "" for i in rng.permutation(len(ids))[:n])
    return [_some_words(text.split(), rng) for text in texts if text.strip()]


def _some_words(words: list[str], rng: np.random.Generator) -> str:
    n = min(int(rng.integers(*_N_WORDS)), len(words))
    first = int(rng.integers(0, len(words) - n + 1))
    return " ".join(words[first : first + n])
