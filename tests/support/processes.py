"""Processes that tests look for."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil


def descendants(parent: psutil.Process, argument: str) -> list[psutil.Process]:
    """Return the processes below one that have an argument in their command line; any may end meanwhile."""
    found = []
    for child in parent.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, or is a zombie
            if argument in child.cmdline():
                found.append(child)
    return found


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the other processes whose command line names a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if str(folder) in " ".join(process.cmdline()) and process.pid != os.getpid():
                found.append(process)
    return found
