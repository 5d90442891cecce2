"""Packs of texts with a bounded number of tokens."""

from collections.abc import Sequence


def packs(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Positions of the texts in each pack.

    Longer texts come first, so that texts of equal length are neighbours. Texts of length 0 are left out. A
    text longer than the budget is a pack of its own.

    Args:
        lengths: tokens per text.
        token_budget: tokens per pack.
    """
    packed: list[list[int]] = []
    room = 0
    for position in sorted((i for i, length in enumerate(lengths) if length), key=lambda i: -lengths[i]):
        if not packed or lengths[position] > room:
            packed.append([])
            room = token_budget
        packed[-1].append(position)
        room -= lengths[position]
    return packed
