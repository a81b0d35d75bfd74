"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.02


def eventually(condition: Callable[[], T], what: str, timeout_s: float = 15.0) -> T:
    """Return the condition's first true value.

    Args:
        condition: polled until it is true.
        what: what is waited for, for the failure's text.
        timeout_s: seconds until that is a failure.

    Raises:
        AssertionError: the deadline passed; it tells the last value.
    """
    pause, deadline = threading.Event(), time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}; last seen: {value!r}"
        pause.wait(_POLL_S)
    return value
