"""Processes that tests look for."""

from __future__ import annotations

import contextlib

import psutil


def descendants(parent: psutil.Process, argument: str) -> list[psutil.Process]:
    """Return the processes below one that have an argument in their command line; any may end meanwhile."""
    found = []
    for child in parent.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, or is a zombie
            if argument in child.cmdline():
                found.append(child)
    return found


def processes_naming(text: str) -> list[psutil.Process]:
    """Return the processes whose command line has a text in it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if text in " ".join(process.cmdline()):
                found.append(process)
    return found
