"""How far the preparing of a job's rows is.

Protocol: docs/protocol.md, "The event stream": ``training.preparing``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from arkor.backend.training_worker.reporter import Reporter

SHARE = 0.05  # of a phase, between two events
PAUSE_S = 1.0  # between two events of a phase: the preparing of few rows is not worth more


class PreparingReport:
    """Sends an event where a phase begins, and then at most one for each 5 % of it, and one a second; a ``Tell``.

    Args:
        reporter: where the events go.
        clock: returns seconds that only grow.
    """

    def __init__(self, reporter: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter = reporter
        self._clock = clock
        self._phase = ""
        self._next_done = self._next_at = 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Take in how far a phase is; cheap enough to be called for each row."""
        if phase == self._phase and (done < self._next_done or self._clock() < self._next_at):
            return
        self._phase = phase
        self._next_done = done + SHARE * total if total else float("inf")
        self._next_at = self._clock() + PAUSE_S
        self._reporter.send("training.preparing", phase=phase, done=done, total=total)
