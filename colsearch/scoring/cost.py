"""What a search costs, so that it is planned by cost and not by knobs."""

# One query vector of 16 lanes against one document token at 128 dims, both planes, one thread: measured.
_NS_PER_TOKEN_AND_128_DIMS = 11.0
_LANES = 16
# Below this a scan, which is exact, is as fast as anything.
CHEAP_SCAN_NS = 2e6


def scan_cost(n_tokens: int, n_query_tokens: int, dim: int) -> float:
    """What scoring all of these tokens costs, in cheap scans: up to 1, scoring everything is the plan."""
    ns_per_token = -(-n_query_tokens // _LANES) * dim / 128 * _NS_PER_TOKEN_AND_128_DIMS
    return n_tokens * ns_per_token / CHEAP_SCAN_NS
