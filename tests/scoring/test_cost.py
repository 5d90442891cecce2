"""The cost model: which queries are short enough, and indexes small enough, for an exhaustive scan."""

import pytest

from colsearch.scoring.cost import cheap_query_tokens, scan_cost


def test_a_cheap_scan_takes_two_milliseconds_at_11_ns_a_token_of_128_dims() -> None:
    assert scan_cost(181_818, 16, 128) <= 1 < scan_cost(181_819, 16, 128)
    # Query tokens are scored 16 at a time, and each dimension costs the same.
    assert scan_cost(1000, 17, 128) == scan_cost(1000, 32, 128) == 2 * scan_cost(1000, 1, 128)
    assert scan_cost(1000, 1, 32) == scan_cost(1000, 1, 128) / 4


@pytest.mark.parametrize("dim", [1, 48, 96, 128, 768, 1024])
@pytest.mark.parametrize("n_tokens", [1, 999, 50_001, 90_000, 181_818, 181_819, 3_000_000])
def test_the_longest_cheap_query_is_the_longest_whose_scan_is_cheap(n_tokens: int, dim: int) -> None:
    longest = cheap_query_tokens(n_tokens, dim)
    assert longest == 0 or scan_cost(n_tokens, longest, dim) <= 1
    assert scan_cost(n_tokens, longest + 1, dim) > 1


def test_any_query_is_cheap_in_an_index_without_tokens() -> None:
    assert cheap_query_tokens(0, 128) > 1_000_000
