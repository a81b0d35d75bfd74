"""A disk that is full, or nearly: the operating system takes so many bytes of a file and no more."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Limit = Callable[[int], None]


@contextmanager
def largest_file(limit: int) -> Iterator[Limit]:
    """Let no file grow beyond so many bytes inside the block, nor beyond what the yielded function says later.

    It must not outlast the test's own code: what pytest prints may go to a file as well.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def allow(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    allow(limit)
    try:
        yield allow
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
