"""The cost model: an exhaustive scan is the plan as long as it is cheap."""

# Measured: 16 query tokens (one vector) against one document token of 128 dims, both planes, one thread.
_NS_PER_TOKEN_AND_128_DIMS = 11.0
_LANES = 16
# A scan below this is as fast as anything, and it is exact.
CHEAP_SCAN_NS = 2e6


def scan_cost(n_tokens: int, n_query_tokens: int, dim: int) -> float:
    """Estimated cost of scoring all these tokens, in units of `CHEAP_SCAN_NS`; at most 1 means: just scan."""
    ns_per_token = -(-n_query_tokens // _LANES) * dim / 128 * _NS_PER_TOKEN_AND_128_DIMS
    return n_tokens * ns_per_token / CHEAP_SCAN_NS


def cheap_query_tokens(n_tokens: int, dim: int) -> int:
    """The longest query, in tokens, for which a scan of all these document tokens is cheap; 0 if there is none."""
    n_vectors = int(1 / scan_cost(n_tokens, 1, dim)) if n_tokens else 1 << 30
    return _LANES * n_vectors
