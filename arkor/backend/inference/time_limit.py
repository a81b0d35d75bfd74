"""A limit on how long other people's programs, such as chat templates, may compute."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class TookTooLong(Exception):
    """The time was up."""


@contextlib.contextmanager
def cpu_time_limit(seconds: float) -> Iterator[None]:
    """Break the block off after so much computing. On the main thread only: Python runs handlers of signals there.

    The time that the processor works counts, not that of the clock: a busy machine does not make the block any longer.

    Args:
        seconds: of this process's CPU time, above 0.

    Raises:
        TookTooLong: the time was up.
    """
    former = signal.signal(signal.SIGPROF, _break_off)
    # Again and again: what runs may pass over one exception.
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)


def _break_off(*_: object) -> None:
    raise TookTooLong
