"""The cost model: an exhaustive scan is the plan as long as it is cheap."""

from colsearch_kernels.runtime.cost import ns_per_token
from colsearch_kernels.runtime.tiers import LANES

# A scan below this is as fast as anything, and it is exact.
CHEAP_SCAN_NS = 2e6


def scan_cost(n_tokens: int, n_query_tokens: int, dim: int) -> float:
    """Estimated cost of scoring all these tokens, in units of `CHEAP_SCAN_NS`; at most 1 means: just scan."""
    return n_tokens * ns_per_token(n_query_tokens, dim) / CHEAP_SCAN_NS


def cheap_query_tokens(n_tokens: int, dim: int) -> int:
    """The longest query, in tokens, for which a scan of all these document tokens is cheap; 0 if there is none."""
    n_vectors = int(1 / scan_cost(n_tokens, 1, dim)) if n_tokens else 1 << 30
    return LANES * n_vectors
