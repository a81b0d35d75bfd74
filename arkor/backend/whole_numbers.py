"""A whole number that a request has to hold."""

from __future__ import annotations

from typing import Any

from arkor.protocol import wire
from arkor.serving.refusal import Refusal

LARGEST = 2**63 - 1  # what SQLite and torch take


def read_whole_number(value: Any, name: str, smallest: int = 0, largest: int = LARGEST) -> int:
    """Return a value of a request as a whole number.

    Args:
        value: as JSON gave it.
        name: what to call it in the refusal.
        smallest: the smallest that is good.
        largest: the largest that is good.

    Raises:
        Refusal: 400, it is something else, or out of its range.
    """
    number = wire.whole_number(value)
    if number is None or not smallest <= number <= largest:
        span = f"{smallest} or more" if largest == LARGEST else f"{smallest} to {largest}"
        raise Refusal(400, f"{name}: must be a whole number, {span}, not {value!r:.100}.")
    return number
