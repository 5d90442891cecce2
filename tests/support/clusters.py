"""Documents and queries about topics; each topic has tokens of its own kinds."""

import numpy as np

from colsearch.types import F32

DIM = 64


def draw_kinds(seed: int, dim: int = DIM) -> F32:
    kinds = np.random.default_rng(seed).standard_normal((2000, dim)).astype(np.float32)
    return kinds / np.linalg.norm(kinds, axis=1, keepdims=True)


def cluster_documents(n: int, seed: int, kinds: F32, n_tokens: tuple[int, int] = (5, 40)) -> list[F32]:
    """Documents about one topic each, whose tokens are near the kinds of that topic.

    Args:
        kinds: (n_kinds, dim) unit rows; each topic has 20 neighbouring ones.
        n_tokens: the range of a document's number of tokens, without its end.
    """
    rng = np.random.default_rng(seed)
    dim = kinds.shape[1]
    documents = []
    for _ in range(n):
        topic = rng.integers(0, len(kinds) // 20)
        own = kinds[topic * 20 + rng.integers(0, 20, int(rng.integers(*n_tokens)))]
        tokens = own + 0.35 * rng.standard_normal(own.shape, np.float32) / np.float32(np.sqrt(dim))
        documents.append(tokens / np.linalg.norm(tokens, axis=1, keepdims=True))
    return documents


def draw_queries(n: int, seed: int, kinds: F32) -> list[F32]:
    return [document[:8] for document in cluster_documents(n, seed, kinds)]
