"""Things that a forked process does not share with its parent: each process makes its own.

A child has copies of its parent's objects, but not of its threads: a lock that one of them held stays locked for good,
and a connection has two readers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_forks: list[int] = []  # between the process that imported this module, and this one: the ids of the children


class OwnToEachProcess(Generic[T]):
    """A thing that each process makes at its first use; a child never uses, closes or drops that of its parent.

    Args:
        make: makes one.

    Thread-safety: safe; all threads of a process get the same one.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def get(self) -> T:
        """Return this process's own."""
        made = self._made.get(len(_forks))
        return self._made.setdefault(len(_forks), self._make()) if made is None else made


def after_fork_in_child(call: Callable[[], None]) -> None:
    """Call a function in each child that this process forks, before any other code runs there; never on Windows."""
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=call)


after_fork_in_child(lambda: _forks.append(os.getpid()))
