"""How a process begins that reads users' rows for the server, beside trainings, and talks through pipes."""

from __future__ import annotations

import logging
import resource
import sys

from arkor.backend.inference.pipes import Pipes
from arkor.system.limits import limit
from arkor.system.priority import give_way

_NICENESS = 5  # below trainings, and still quick enough for a person who waits


def begin(memory_gib: int) -> Pipes:
    """Lower this process's priority, limit it, let its log go to standard error, and return what it talks through.

    Args:
        memory_gib: how much memory it may take.
    """
    give_way(_NICENESS)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_DATA, memory_gib * 1024**3)
    pipes = Pipes.claim()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings have whole URLs, with their signatures
    return pipes
