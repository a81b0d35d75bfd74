"""Giving way to other processes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def give_way(niceness: int, autogroup: Path = Path("/proc/self/autogroup")) -> None:
    """Lower the priority of this process, for as long as it runs.

    On a desktop Linux shares the processor between sessions first, and priorities count within a session alone. So
    a process that leads a session of its own lowers the priority of the session, too.

    Args:
        niceness: by how much, 1 to 19; 10 leaves a tenth of a core beside a process that wants all of it.
        autogroup: the kernel's file about the session; where it is missing there are no such sessions.
    """
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            autogroup.write_text(str(niceness))
