"""What a search costs, so that it is planned by cost and not by knobs."""

from colsearch_kernels.runtime.cost import ns_per_token

# Below this a scan, which is exact, is as fast as anything.
CHEAP_SCAN_NS = 2e6


def scan_cost(n_tokens: int, n_query_tokens: int, dim: int) -> float:
    """What scoring all of these tokens costs, in cheap scans: up to 1, scoring everything is the plan."""
    return n_tokens * ns_per_token(n_query_tokens, dim) / CHEAP_SCAN_NS
