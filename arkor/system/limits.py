"""Limits that a process sets itself before it reads what others wrote."""

from __future__ import annotations

import contextlib
import resource


def limit(what: int, most: int) -> None:
    """Limit this process; a lower limit that it has already stays.

    Args:
        what: a limit of the ``resource`` module, such as ``resource.RLIMIT_CPU``.
        most: in that limit's unit.
    """
    _, hard = resource.getrlimit(what)
    with contextlib.suppress(OSError, ValueError):  # macOS does not limit memory so
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
