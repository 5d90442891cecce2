"""How long scoring takes: the figure by which work is cut into pieces and searches are planned."""

from colsearch_kernels.runtime.tiers import LANES

# Nanoseconds that one document token of 128 dims costs for each vector of LANES query tokens: both planes, documents
# that follow one another in memory, one thread; measured.
_NS_PER_TOKEN_AND_128_DIMS = 11.0


def ns_per_token(n_query_tokens: int, n_dims: int) -> float:
    """Nanoseconds that one document token costs; a vector of lanes costs the same if it is not full."""
    n_vectors = -(-n_query_tokens // LANES)
    return n_vectors * n_dims / 128 * _NS_PER_TOKEN_AND_128_DIMS
