"""The phases of preparing a job's rows, and how a phase tells how far it is.

Protocol: docs/protocol.md, "The event stream": ``training.preparing``.
"""

from __future__ import annotations

from collections.abc import Callable

READING = "reading"
TOKENIZING = "tokenizing"

Tell = Callable[[str, int, int], None]
"""Takes how far a phase is: its name, and how much of it is done, of how much; 0 if that is not known."""


def tell_nobody(_phase: str, _done: int, _total: int) -> None:
    """Report nothing."""
