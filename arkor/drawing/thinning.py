"""Few points that show the same curve."""

from __future__ import annotations

from collections.abc import Sequence


def extremes(indices: Sequence[int], column: Sequence[float], room: int) -> list[int]:
    """Return the smallest and the largest of each of as many parts as there is room for; all where they fit.

    Args:
        indices: of the points, ascending.
        column: the value of each point, by its index.
        room: how many indices to return at most, 2 or more.
    """
    if len(indices) <= room:
        return list(indices)
    found = []
    parts = room // 2
    for part in range(parts):
        inside = indices[len(indices) * part // parts : len(indices) * (part + 1) // parts]
        found += [min(inside, key=column.__getitem__), max(reversed(inside), key=column.__getitem__)]
    return found
