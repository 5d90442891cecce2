"""Texts of any lengths in packs of a bounded number of tokens."""

from collections.abc import Sequence


def packs(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Positions of the texts, longest first, so that equal lengths are neighbours; those of length 0 are left out.

    A text longer than the budget is a pack of its own.
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
