"""Which rows of a source are held out.

Protocol: docs/protocol.md, "Jobs": datasetSplit with ``evalFraction``.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence


def split_rows(count: int, fraction: float, seed: int | None) -> tuple[Sequence[int], Sequence[int]]:
    """Hold rows out; the same number of rows, fraction and seed give the same split on every machine.

    Args:
        count: how many rows there are, at least 2.
        fraction: the share to hold out, above 0 and below 1; at least one row goes to either side.
        seed: any whole number, which rows are held out depends on it; None holds out the last ones.

    Returns:
        (places of the rows to train on, places of those held out), from 0, each growing.
    """
    most = min(max(1, round(count * fraction)), count - 1)
    if seed is None:
        return range(count - most), range(count - most, count)
    is_held_out = bytearray(count)
    for place in random.Random(seed).sample(range(count), most):
        is_held_out[place] = True
    train, held_out = (
        array("Q", (place for place in range(count) if is_held_out[place] == wanted)) for wanted in (False, True)
    )
    return train, held_out
