"""What a queued job waits for: asked now and then, since no event tells it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from arkor.cli.display.job_table import SHORTEST_ID
from arkor.protocol import wire
from arkor.protocol.jobs import TrainingJob
from arkor.text import one_line

PERIOD_S = 2.0


@contextlib.contextmanager
def watching_the_queue(
    ask: Callable[[], TrainingJob], tell: Callable[[str], object], is_waiting: Callable[[], bool]
) -> Iterator[None]:
    """Ask every two seconds what a job waits for, on a thread, while it waits.

    Args:
        ask: asks the backend for the job.
        tell: called with the running job that it waits for, and how far that is; with an empty text for none.
        is_waiting: says whether the job waits.
    """
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(over, ask, tell, is_waiting), name="queue", daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _watch(
    over: threading.Event,
    ask: Callable[[], TrainingJob],
    tell: Callable[[str], object],
    is_waiting: Callable[[], bool],
) -> None:
    from arkor.errors import Aborted, ArkorError
    from arkor.http.abort import AbortScope, Deadline

    with AbortScope(over, Deadline()) as limits, limits.active():
        while not over.wait(PERIOD_S):
            if is_waiting():
                with contextlib.suppress(ArkorError, Aborted):  # following the job says what is wrong
                    tell(waits_for(ask()))


def waits_for(job: TrainingJob) -> str:
    """Return the running job that a job waits for, and how far that is: ``job_x4k2va (40%)``; empty if nobody says."""
    said = wire.mapping(job.extra.get("waitsFor"))
    other = one_line(wire.text(said.get("jobId"))[:SHORTEST_ID])
    step, total = (wire.whole_number(said.get(name)) for name in ("step", "maxSteps"))
    share = f" ({min(step, total) / total:.0%})" if step and total else ""
    return f"{other}{share}" if other else ""
