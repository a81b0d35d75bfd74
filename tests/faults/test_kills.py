"""Workers and backends killed in the middle of a job: each event is told, stored and told again exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arkor import HuggingFaceDataset, ReconnectPolicy, Trainer
from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project
from arkor.protocol.events import BACKEND_EVENT_TYPES
from tests.support.backend import ROOT, BackendProcess, is_running
from tests.support.eventually import eventually
from tests.support.tiny_model import write_tiny_model
from tests.support.waiting import Told, Waiting

STEPS = 6
PLAN = [
    ("training.started", None),
    ("training.log", 1),
    ("training.log", 2),
    ("checkpoint.saved", 2),
    ("training.log", 3),
    ("training.log", 3),  # the evaluation
    ("training.log", 4),
    ("checkpoint.saved", 4),
    ("training.log", 5),
    ("training.log", 6),
    ("training.log", 6),
    ("checkpoint.saved", 6),
    ("training.completed", None),
]
CALLBACKS = {
    "training.started": "started",
    "training.log": "log",
    "checkpoint.saved": "checkpoint",
    "training.completed": "completed",
    "training.failed": "failed",
}
POLICY = ReconnectPolicy(base_delay=0.05, max_delay=0.2)
TIMEOUT_S = 30.0


class Run:
    """A job of six steps that happen when the test says so, and a trainer that follows it in a thread of its own."""

    def __init__(self, backend: BackendProcess) -> None:
        self.backend = backend
        self._told, self._heard = Told(), list[Any]()
        self._trainer = Trainer(
            name=f"gated:{STEPS}",
            model=str(write_tiny_model(backend.home / "model")),
            dataset=HuggingFaceDataset("owner/rows"),
            callbacks=self._told.callbacks(),
            save_steps=2,
            eval_steps=3,
            dataset_split={"eval_fraction": 0.1},
            backend=backend.url,
            reconnect=POLICY,
        )
        self.job_id = self._trainer.start().id
        self._waiting = Waiting(lambda: self._trainer.wait(on_event=self._heard.append))

    def hear(self, step: int) -> None:
        """Let the job go on to a step, and wait until its log is told."""
        self.backend.allow(self.job_id, step)
        eventually(lambda: ("log", step) in self._told.names, f"step {step} is told")

    def save(self, step: int) -> None:
        """Let the job go on until it has saved a step's checkpoint, whoever listens."""
        self.backend.allow(self.job_id, step)
        eventually(lambda: self.backend.checkpoint(self.job_id) == step, f"the checkpoint of step {step} is whole")

    def kill_worker(self, attempt: int = 1) -> None:
        """Kill -9 the worker of an attempt."""
        pid = self.backend.worker_pid(self.job_id, attempt)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid), "the worker is gone")

    def finish(self) -> None:
        """Let the job go on to its end."""
        self.backend.allow(self.job_id, STEPS)
        self._waiting.outcome(TIMEOUT_S)

    def events(self) -> list[tuple[str, int | None]]:
        """Return type and step of each event, after it was told, stored and told again as the same."""
        result = self._waiting.outcome(TIMEOUT_S)
        heard = [(event.id, event.to_wire()) for event in self._heard]
        assert heard == self._stored()
        again = Trainer.attach(self.job_id, backend=self.backend.url)
        assert [(event.id, event.to_wire()) for event in again.events()] == heard
        assert [event_id for event_id, _ in heard] == [str(number) for number in range(1, len(heard) + 1)]
        assert result.status == heard[-1][1]["type"].removeprefix("training.")
        of_training = [body for _, body in heard if body["type"] not in BACKEND_EVENT_TYPES]
        # A callback is not told at which step a job failed.
        steps = [None if body["type"] == "training.failed" else body.get("step") for body in of_training]
        called = [CALLBACKS[body["type"]] for body in of_training]
        assert self._told.names == list(zip(called, steps, strict=True))
        return [(body["type"], body.get("step")) for body in of_training]

    def _stored(self) -> list[tuple[str, dict[str, Any]]]:
        client = CloudApiClient.connect(self.backend.url)
        found, more = client.stored_events(ensure_project(client, Path.cwd()), self.job_id)
        client.close()
        assert not more
        return found


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start a backend of the test's own, whose options are keyword arguments, and a job there."""
    made: list[BackendProcess] = []

    def start(**options: Any) -> Run:
        made.append(BackendProcess(tmp_path / "backend", **options).start())
        return Run(made[0])

    yield start
    for backend in made:
        backend.close()


def test_a_killed_worker_is_resumed(begin: Callable[..., Run]) -> None:
    """From its last checkpoint; what was told is not told again."""
    run = begin()
    run.hear(3)
    run.kill_worker()
    run.backend.worker_pid(run.job_id, attempt=2)
    run.finish()
    assert run.events() == PLAN


def test_a_worker_that_is_killed_without_progress_ends_its_job_after_what_it_told(begin: Callable[..., Run]) -> None:
    """What was told stays, in its order, and the failure comes last."""
    run = begin()
    run.hear(3)
    for attempt in range(1, 8):  # two until a batch has two rows, two until it has one, and three more
        run.kill_worker(attempt)
    events = run.events()
    assert events[:-1] == PLAN[: len(events) - 1]
    assert events[-1][0] == "training.failed"


def test_a_worker_that_was_stopped_and_killed_for_its_silence_is_resumed(begin: Callable[..., Run]) -> None:
    """The next attempt tells again what led to the checkpoint; nobody hears of it."""
    run = begin(lease=1.5)
    run.hear(3)
    os.kill(run.backend.worker_pid(run.job_id), signal.SIGSTOP)
    run.backend.worker_pid(run.job_id, attempt=2)
    run.finish()
    assert run.events() == PLAN


def test_a_worker_trains_on_while_its_backend_is_killed(begin: Callable[..., Run]) -> None:
    """What happens meanwhile is told by the same attempt when the backend is back."""
    run = begin()
    run.hear(1)
    run.backend.kill()
    run.save(STEPS)
    run.backend.start()
    assert run.events() == PLAN
    assert not (run.backend.job_dir(run.job_id) / "pid-2").exists()


def test_a_checkpoint_that_the_backend_never_heard_of_leaves_no_hole(begin: Callable[..., Run]) -> None:
    """Backend and worker are killed: the next attempt tells what the killed one could not, in its order."""
    run = begin()
    run.hear(1)
    run.backend.kill()
    run.save(4)
    run.kill_worker()
    run.backend.start()
    run.finish()
    assert run.events() == PLAN


def test_a_complete_checkpoint_of_the_last_step_leaves_no_hole(begin: Callable[..., Run]) -> None:
    """Killed between the last step and the news of it: there is nothing left to train, and all of it to tell."""
    run = begin()
    run.hear(1)
    run.backend.kill()
    run.save(STEPS)
    run.kill_worker()
    run.backend.start()
    assert run.events() == PLAN


def test_a_worker_without_a_checkpoint_begins_again(begin: Callable[..., Run]) -> None:
    """Its first step is done twice and told once."""
    run = begin()
    run.hear(1)
    run.backend.kill()
    run.kill_worker()
    run.backend.start()
    run.finish()
    assert run.events() == PLAN


def test_kills_one_after_another_change_no_event_of_the_training(begin: Callable[..., Run]) -> None:
    """Each attempt comes one checkpoint further; the backend of the third begins before that has told anything."""
    run = begin()
    for attempt, step in ((1, 2), (2, 4)):
        run.hear(step - 1)
        run.backend.kill()
        run.save(step)
        run.kill_worker(attempt)
        run.backend.start()
    run.backend.worker_pid(run.job_id, attempt=3)
    run.backend.kill()
    run.backend.start()
    run.finish()
    assert run.events() == PLAN


def test_the_bench_of_kills_finds_nothing_in_a_few_jobs() -> None:
    """A short run of ``bench/kills.py``; this seed begins with a kill of backend and workers."""
    command = [sys.executable, "bench/kills.py", "--jobs", "3", "--seed", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "faults" in done.stdout
