"""The live views of a wait: a card in a notebook, lines anywhere."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from arkor.notebook.card import card, headline, lines, losses, status
from arkor.notebook.run import Fetching, Run
from arkor.protocol.events import Event, TrainingLogEvent, TrainingPreparingEvent
from arkor.protocol.jobs import TrainingJob

INTERVAL_S = 0.5  # between two updates of a card
LINE_INTERVAL_S = 1.0  # between two lines of the same kind

logger = logging.getLogger(__name__)


class View(Protocol):
    """What a wait shows of its run.

    Thread-safety: one thread at a time.
    """

    def fetching(self, now: Fetching) -> None:
        """Show how far the work before the job is."""

    def started(self, job: TrainingJob) -> None:
        """Show that there is a job."""

    def take(self, event: Event, job: TrainingJob) -> None:
        """Show an event; showing it twice changes nothing."""

    def close(self) -> None:
        """Show the last state."""


class _Signal:
    """Wakes a thread that waits for it; one that is given twice before it is taken counts once.

    It is a bare lock: an interrupt of the main thread inside ``threading.Event.set`` may leave the event's own lock
    held for ever, because ``Condition.__enter__`` is Python code (seen in CPython 3.11).

    Thread-safety: one thread gives, another one takes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def give(self) -> None:
        """Wake the other thread, now or when it waits."""
        if self._lock.locked():
            self._lock.release()

    def take(self, timeout_s: float = -1) -> bool:
        """Wait for the signal; return whether it came.

        Args:
            timeout_s: seconds; -1 for ever, 0 for not at all.
        """
        return self._lock.acquire(timeout=timeout_s)


class CardView:
    """A card that is updated in place, at most twice a second, on a thread of its own.

    Args:
        run: what is known of the run, from earlier waits too.
        foot: says what can be done about the job.
        address: finds the job's page in Studio; None if none runs.
        display: shows the first card, and returns what updates it: ``IPython.display.display``.
    """

    def __init__(
        self, run: Run, foot: Callable[[], str], address: Callable[[], str | None], display: Callable[..., Any]
    ) -> None:
        self._run = run
        self._foot = foot
        self._address = address
        self._changed, self._over = _Signal(), _Signal()
        self._handle = display(self._bundle(), raw=True, display_id=True)
        context = contextvars.copy_context()  # names the cell whose output it is
        self._thread = threading.Thread(target=context.run, args=(self._update,), name="arkor-card", daemon=True)
        try:
            self._thread.start()
        except BaseException:  # the interrupt of a user, who gets no view to close
            self._end()
            raise

    def fetching(self, now: Fetching) -> None:
        """Show how far the work before the job is."""
        with self._run.lock:
            self._run.fetching = now
        self._changed.give()

    def started(self, job: TrainingJob) -> None:
        """Show that there is a job."""
        with self._run.lock:
            self._run.know(job)
        self._changed.give()

    def take(self, event: Event, job: TrainingJob) -> None:
        """Show an event."""
        with self._run.lock:
            self._run.take(event, job)
        self._changed.give()

    def close(self) -> None:
        """Show the last state, and end the thread."""
        self._end()
        self._thread.join()

    def _end(self) -> None:
        self._over.give()
        self._changed.give()

    def _update(self) -> None:
        is_over = False
        while True:
            self._changed.take()
            is_over = is_over or self._over.take(0)
            try:
                self._handle.update(self._bundle(), raw=True)
            except Exception:  # whatever a front end raises, the training is watched on
                logger.warning("The card of the training cannot be shown.", exc_info=True)
                return
            if is_over:
                return
            is_over = self._over.take(INTERVAL_S)

    def _bundle(self) -> dict[str, str]:
        foot, address = self._foot(), self._address()
        with self._run.lock:
            return {"text/html": card(self._run, foot, address), "text/plain": lines(self._run, foot)}


class LineView:
    """Lines on standard output: one for each evaluation, and at most one a second for the rest.

    Args:
        run: what is known of the run, from earlier waits too.
        say: prints a line.
    """

    def __init__(self, run: Run, say: Callable[[str], object]) -> None:
        self._run = run
        self._say = say
        self._line = ""
        self._doing = ""
        self._said_at = 0.0

    def fetching(self, now: Fetching) -> None:
        """Print how far the work before the job is."""
        self._run.fetching = now
        self._say_soon(is_frequent=True)

    def started(self, job: TrainingJob) -> None:
        """Print that there is a job."""
        self._run.know(job)
        self._say_soon(is_frequent=False)

    def take(self, event: Event, job: TrainingJob) -> None:
        """Print what an event changes."""
        self._run.take(event, job)
        is_log = isinstance(event, TrainingLogEvent) and event.eval_loss is None
        self._say_soon(is_frequent=is_log or isinstance(event, TrainingPreparingEvent))

    def close(self) -> None:
        """Do nothing: every line is printed."""

    def _say_soon(self, *, is_frequent: bool) -> None:
        doing, line = status(self._run), "  ".join([*headline(self._run), *losses(self._run)])
        is_early = time.monotonic() - self._said_at < LINE_INTERVAL_S
        if line == self._line or (is_frequent and is_early and doing == self._doing):
            return
        self._line, self._doing, self._said_at = line, doing, time.monotonic()
        self._say(line)
