"""What the waits of a trainer show: a card in a notebook, lines, or nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from arkor.errors import ArkorError, ConfigError
from arkor.protocol import wire
from arkor.protocol.events import Event
from arkor.protocol.jobs import TrainingJob
from arkor.system.files import STUDIO_ADDRESS, arkor_home
from arkor.text import one_line
from arkor.trainer.phases import Phases
from arkor.trainer.start import Starter
from arkor.trainer.submission import Submission

if TYPE_CHECKING:
    from arkor.notebook.run import Run
    from arkor.notebook.view import View

PLAIN = "plain"
SWITCH = "ARKOR_PROGRESS"
_STUDIO_TIMEOUT_S = 0.2

logger = logging.getLogger(__name__)


class Shown:
    """What one wait shows; without a view, nothing. An error of the view ends the view, not the wait."""

    def __init__(self, view: View | None) -> None:
        self._view = view
        self._phases = Phases()

    def on_progress(self, report: Mapping[str, Any]) -> None:
        """Show a report of the work before the job."""
        if self._view is None:
            return
        phase = self._phases.take(report)
        if phase is not None:
            from arkor.notebook.run import Fetching

            self._try(self._view.fetching, Fetching(phase.title, phase.done, phase.total))

    def started(self, job: TrainingJob) -> None:
        """Show that there is a job."""
        if self._view is not None:
            self._try(self._view.started, job)

    def take(self, event: Event, job: TrainingJob) -> None:
        """Show an event, and the job after it."""
        if self._view is not None:
            self._try(self._view.take, event, job)

    def close(self) -> None:
        """Show the last state."""
        if self._view is not None:
            self._try(self._view.close)

    def _try(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception:  # whatever a front end or a stream raises
            self._view = None
            logger.warning("The training cannot be shown any more.", exc_info=True)


class Showing:
    """What the waits of one trainer show, one after the other: a later one begins with all that an earlier one saw.

    Args:
        starter: has the job.

    Attributes:
        called: how the user's program calls the trainer.
    """

    def __init__(self, starter: Starter) -> None:
        self._starter = starter
        self.called = "trainer"
        self._run: Run | None = None

    @contextlib.contextmanager
    def one_line_if_interrupted(self) -> Iterator[None]:
        """Let IPython show one line, and no traceback, for Ctrl-C inside the block."""
        try:
            yield
        except KeyboardInterrupt:
            if _shell() is None:
                raise
            from arkor.notebook.interrupt import WaitInterrupted

            raise WaitInterrupted(self._interrupted()) from None

    @contextlib.contextmanager
    def open(self, progress: str | bool | None) -> Iterator[Shown]:
        """Show what is handed in inside the block. In IPython, Ctrl-C in it becomes one line.

        Args:
            progress: as ``Trainer.wait`` has it.

        Raises:
            ConfigError: ``progress`` is none of the choices.
        """
        if progress not in (None, False, PLAIN):
            raise ConfigError("progress", f"must be None, False or {PLAIN!r}, not {progress!r}")
        with self.one_line_if_interrupted(), contextlib.closing(Shown(self._view(progress))) as shown:
            yield shown

    def _view(self, progress: str | bool | None) -> View | None:
        """Return what shows the run; None for nothing."""
        has_card = progress is None and os.environ.get(SWITCH) != "0" and hasattr(_shell(), "kernel")
        if progress != PLAIN and not has_card:
            return None
        from arkor.notebook.view import CardView, LineView

        run = self._known()
        try:
            if progress == PLAIN:
                return LineView(run, print)
            display = sys.modules["IPython"].display.display
            return CardView(run, self._foot, self._address, display)
        except Exception:
            logger.warning("The training cannot be shown.", exc_info=True)
            return None

    def _known(self) -> Run:
        from arkor.notebook.run import Run

        source, record = self._starter.source, self._starter.record
        if self._run is None:
            name, model = (source.name, source.config.model) if isinstance(source, Submission) else ("", "")
            self._run = Run(name, wire.text(model))
        if record is not None:
            with self._run.lock:
                self._run.know(record.job)
        return self._run

    def _foot(self) -> str:
        job_id = self._starter.job_id
        if job_id is None:
            return "No job was submitted yet."
        record = self._starter.record
        if record is not None and record.job.is_terminal:
            return job_id
        return f"{job_id} · {self.called}.cancel() stops it"

    def _interrupted(self) -> str:
        record, called = self._starter.record, self.called
        if record is None:
            return f"Interrupted. {self._starter.state()}"
        job_id = one_line(record.job.id)
        if record.job.is_terminal:
            return f"Interrupted: job {job_id} is {record.job.status}. {called}.wait() returns its result."
        return f"Interrupted: job {job_id} goes on. {called}.wait() follows it, {called}.cancel() stops it."

    def _address(self) -> str | None:
        """Return the address of the job's page in the Studio that was launched last; None if it does not run."""
        try:
            address = (arkor_home() / STUDIO_ADDRESS).read_text()
            parts = urlsplit(address)
            socket.create_connection((parts.hostname or "", parts.port or 0), _STUDIO_TIMEOUT_S).close()
        except (OSError, ValueError, ArkorError):
            return None
        return f"{address}#/jobs/{self._starter.job_id}"


def _shell() -> Any:
    """Return the shell of IPython that runs this program, which has a ``kernel`` in a notebook; None without IPython.

    Nothing of IPython is loaded.
    """
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()
