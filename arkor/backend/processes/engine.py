"""Where a worker runs: an engine starts it, ends it, and says when it is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs


@attrs.frozen
class WorkerHandle:
    """A worker, named by the engine that started it: ``process:4242:boot:…``, ``ray:arkor-job_…-1``.

    Attributes:
        text: the name, which is stored, so that a later process finds the worker again. Only the engine reads it.
    """

    text: str

    def __str__(self) -> str:
        return self.text


@attrs.frozen(kw_only=True)
class Launch:
    """A worker that is to be started.

    Attributes:
        name: names the attempt, of whichever backend; letters, digits, ``_`` and ``-``.
        spec_path: the file that tells the worker what to do.
        log_path: where its output is appended.
        devices: how many devices it has, each with a process of its own.
    """

    name: str
    spec_path: Path
    log_path: Path
    devices: int = 1


class EngineAway(OSError):
    """The engine does not answer: what it runs may go on, and starts are worth another try."""


class Engine(Protocol):
    """Starts workers and ends them. Thread-safe.

    Attributes:
        spans_machines: whether it knows the workers on all machines, not only those on its own.
    """

    spans_machines: bool

    def start(self, launch: Launch, on_exit: Callable[[int | None], None]) -> WorkerHandle:
        """Start a worker.

        Args:
            launch: the worker.
            on_exit: called once, from another thread, with its exit code; minus the signal's number for one that
                was killed, None if the worker is gone and nothing is known about its end.

        Raises:
            EngineAway: the engine does not answer.
            OSError: it cannot be started.
        """
        ...

    def find(self, folder: Path) -> list[tuple[Path, WorkerHandle]]:
        """Return the workers that run for specs below a folder, whoever started them: (spec, worker), oldest first.

        Args:
            folder: an absolute path.
        """
        ...

    def is_alive(self, handle: WorkerHandle) -> bool:
        """Whether that very worker is still there and has not ended; False for a worker of another engine."""
        ...

    def is_waiting(self, handle: WorkerHandle) -> bool:
        """Whether the engine has not started the worker yet, for want of room: its silence means nothing."""
        ...

    def terminate(self, handle: WorkerHandle) -> None:
        """Ask a worker to save what it has and to end. Does nothing where it is gone."""
        ...

    def kill(self, handle: WorkerHandle) -> None:
        """End a worker and everything it started, and wait a few seconds until it is gone."""
        ...

    def held_bytes(self, handle: WorkerHandle) -> int:
        """Return the memory of this machine that a worker has for itself, in bytes; 0 where it is gone."""
        ...
