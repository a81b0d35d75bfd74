"""Where a worker runs: an engine starts it, ends it, and says when it is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs


@attrs.frozen
class WorkerHandle:
    """A worker's process, which is also the leader of its own process group.

    Attributes:
        pid: its process id.
        start: when the process started, as ``process_start`` writes it: a process id alone may be another process's
            by now.
    """

    pid: int
    start: str


class Engine(Protocol):
    """Starts workers and ends them. Thread-safe."""

    def start(self, spec_path: Path, log_path: Path, on_exit: Callable[[int], None]) -> WorkerHandle:
        """Start a worker.

        Args:
            spec_path: the file that tells it what to do.
            log_path: where its output is appended.
            on_exit: called once, from another thread, with its exit code; minus the signal's number for one that
                was killed.

        Raises:
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
        """Whether that very process is still there and has not ended."""
        ...

    def terminate(self, handle: WorkerHandle) -> None:
        """Ask a worker to save what it has and to end. Does nothing where it is gone."""
        ...

    def kill(self, handle: WorkerHandle) -> None:
        """End a worker and everything it started, and wait a little until it is gone."""
        ...
