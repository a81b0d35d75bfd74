"""A million rows, with a cancel and a kill on the way: ``python bench/million.py``.

A local backend of its own trains the model smollm2-135m for three steps, on rows of three turns and about 80 tokens.
The first job is cancelled while its rows are prepared. In the second one backend and worker are killed after a step;
the next backend goes on with it. The third one finds the examples of the second. Prints how long each took and the
memory of the worker; exits with 1 if a job ended in another way. It needs the ``local`` extra, the model, 5 GiB of disk
and ten minutes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
import psutil
from data import LOOK_S, MIB, MODEL, anonymous_bytes, write_rows

from arkor import (
    Event,
    LocalDataset,
    Trainer,
    TrainingLogEvent,
    TrainingPreparingEvent,
    TrainingResult,
    TrainingStartedEvent,
)
from arkor.errors import LocalBackendError

SHARE = 0.3  # of the rows, tokenised when the first job is cancelled
STEPS = 3


class Run:
    """One job, watched.

    Args:
        folder: the project, with ``rows.jsonl``.
        act: what is done at an event, once.
    """

    def __init__(self, folder: Path, act: Callable[[Run, Event], bool]) -> None:
        self.trainer = Trainer(
            name="million",
            model=MODEL,
            dataset=LocalDataset("rows.jsonl"),
            max_steps=STEPS,
            batch_size=2,
            logging_steps=1,
            save_steps=1,
            project_dir=folder,
            backend="local",
        )
        self._folder = folder
        self.events: list[Event] = []
        self.marks: dict[str, float] = {}
        self.peak = 0
        self._act = act
        self._has_acted = False
        self._over = threading.Event()

    def run(self) -> str:
        """Start the job, follow it to its end, and return its status."""
        self.mark("begun")
        job = self.trainer.start()
        self.mark("submitted")
        watching = threading.Thread(target=self._watch, args=(job.id,))
        watching.start()
        try:
            result = self._wait(job.id)
        finally:
            self._over.set()
            watching.join()
        self.mark("over")
        return str(result.status)

    def _wait(self, job_id: str) -> TrainingResult:
        try:
            return self.trainer.wait(on_event=self._take)
        except LocalBackendError:
            if "killed" not in self.marks:
                raise
        again = Trainer.attach(job_id, after=self.events[-1].id, project_dir=self._folder, backend="local")
        return again.wait(on_event=self._take)

    def mark(self, name: str) -> None:
        """Note the moment at which something happened first."""
        self.marks.setdefault(name, time.monotonic())

    def seconds(self, since: str, until: str) -> float:
        """Return the time between two moments."""
        return self.marks[until] - self.marks[since]

    def worker(self, job_id: str) -> psutil.Process | None:
        """Return the process that trains."""
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "arkor.backend.training_worker" in words and any(job_id in word for word in words):
                return process
        return None

    def _take(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, TrainingStartedEvent):
            self.mark("started")
        if isinstance(event, TrainingLogEvent):
            self.mark("first step")
        if not self._has_acted:
            self._has_acted = self._act(self, event)

    def _watch(self, job_id: str) -> None:
        while not self._over.wait(LOOK_S):
            worker = self.worker(job_id)
            if worker is not None:
                try:
                    self.peak = max(self.peak, anonymous_bytes(worker.pid))
                except psutil.NoSuchProcess:
                    continue


def cancel(run: Run, event: Event) -> bool:
    """Cancel the job when a part of its rows is tokenised."""
    if not isinstance(event, TrainingPreparingEvent) or event.phase != "tokenizing" or event.done < SHARE * event.total:
        return False
    run.mark("asked to stop")
    run.trainer.cancel()
    return True


def kill(run: Run, event: Event) -> bool:
    """Kill the backend and the worker after the second step."""
    if not isinstance(event, TrainingLogEvent) or event.step < 2:
        return False
    note = json.loads((Path.home() / ".arkor" / "local" / "server.json").read_text(encoding="utf-8"))
    worker = run.worker(event.job_id)
    for pid in (note["pid"], *([worker.pid] if worker else [])):
        os.kill(pid, signal.SIGKILL)
    run.mark("killed")
    return True


def leave_alone(_run: Run, _event: Event) -> bool:
    """Do nothing."""
    return True


@click.command()
@click.option("--rows", type=int, default=1_000_000, show_default=True, help="How many rows.")
def main(rows: int) -> None:
    """Train on many rows, with a cancel and a kill on the way."""
    models = Path.home() / ".arkor" / "models"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["HOME"] = folder
        (Path(folder) / ".arkor").mkdir(mode=0o700)
        (Path(folder) / ".arkor" / "models").symlink_to(models)
        work = Path(folder) / "project"
        work.mkdir()
        write_rows(work / "rows.jsonl", rows)
        faults = [fault for fault in (cancelled(work), killed(work), found_again(work)) if fault]
    for fault in faults:
        click.echo(f"FAULT: {fault}")
    sys.exit(bool(faults))


def cancelled(work: Path) -> str | None:
    """Cancel a job while its rows are prepared, and return what is wrong with its end."""
    run = Run(work, cancel)
    status = run.run()
    took = f"checked and sent in {run.seconds('begun', 'submitted'):.1f} s"
    click.echo(f"cancelled: {took}, ended {run.seconds('asked to stop', 'over'):.2f} s after it was asked to")
    return None if status == "cancelled" else f"the cancelled job is {status}"


def killed(work: Path) -> str | None:
    """Kill the worker of a job, and return what is wrong with its end."""
    run = Run(work, kill)
    status = run.run()
    started = [event for event in run.events if isinstance(event, TrainingStartedEvent)]
    steps = [event.step for event in run.events if isinstance(event, TrainingLogEvent)]
    click.echo(
        f"killed: prepared in {run.seconds('submitted', 'started'):.1f} s, "
        f"over {run.seconds('killed', 'over'):.1f} s after the kill, "
        f"steps {steps}, {len(started)} starts, at most {run.peak / MIB:,.0f} MiB"
    )
    return None if (status, steps) == ("completed", [1, 2, 3]) else f"the killed job is {status} with steps {steps}"


def found_again(work: Path) -> str | None:
    """Train on the same rows again, and return what is wrong."""
    run = Run(work, leave_alone)
    status = run.run()
    ready = run.seconds("submitted", "started")
    click.echo(f"again: ready in {ready:.1f} s, first step after {run.seconds('submitted', 'first step'):.1f} s")
    return None if status == "completed" else f"the second job on the same rows is {status}"


if __name__ == "__main__":
    main()
