"""Attempts at jobs, for the code of the worker that needs no backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from arkor.backend.training_worker.spec import WorkerSpec
from arkor.backend.training_worker.stopping import StopReason, StopSwitch
from arkor.protocol.config import JobConfig

UPLOADED = {"type": "dataset", "id": "0" * 64}


def attempt(config: JobConfig, folder: Path, rows: Path | None, **fields: Any) -> WorkerSpec:
    """Return the first attempt at a job.

    Args:
        config: its settings.
        folder: its folder.
        rows: the rows that were uploaded for it, or None.
        fields: of the spec, if they are others.
    """
    usual: dict[str, Any] = {
        "job_id": "job_1",
        "attempt": 1,
        "token": "t",
        "backend_url": "http://127.0.0.1:1",
        "name": "n",
        "threads": 1,
    }
    return WorkerSpec(config=config, dataset_path=rows, job_dir=folder, **{**usual, **fields})


class Events:
    """Stands in for the reporter: it notes events, and asks for a stop at one of them."""

    threads: int | None = None

    def __init__(self, stop: StopSwitch, is_last: Callable[[dict[str, Any]], bool] = lambda _: False) -> None:
        self.sent: list[dict[str, Any]] = []
        self._stop = stop
        self._is_last = is_last

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append({"type": kind, **fields})
        if self._is_last(self.sent[-1]):
            self._stop._reason = StopReason.TERMINATED  # without its signal, which is the process's

    def figures(self, name: str) -> dict[int, float]:
        """Return a figure of the logs by its step."""
        return {event["step"]: event[name] for event in self.sent if name in event}
