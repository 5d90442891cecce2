"""Token pooling: similar tokens of a document become one, so that half or a third of them remain.

Source: Clavié et al. 2024, "Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance
Impact via Token Pooling": Ward clustering of each document's tokens, clusters replaced by their mean.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.workload import Workload


def pool(workload: Workload, factor: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(n_pooled_tokens, dim) unit rows, and (n_docs,) doclens, with about 1/factor of the tokens."""
    if factor == 1:
        return np.asarray(workload.docs, np.float32), workload.doclens
    documents = [pool_document(document, factor) for document in workload.iterate()]
    return np.concatenate(documents), np.array([len(document) for document in documents], np.int64)


def pool_document(tokens: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """(max(1, n // factor), dim) means of Ward clusters, unit rows; the input if it has this length."""
    from scipy.cluster.hierarchy import fcluster, ward

    n_clusters = max(1, len(tokens) // factor)
    if n_clusters == len(tokens):
        return tokens
    labels = fcluster(ward(tokens), n_clusters, criterion="maxclust") - 1
    sums = np.zeros((labels.max() + 1, tokens.shape[1]), np.float32)
    np.add.at(sums, labels, tokens)
    unit: NDArray[np.float32] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return unit
