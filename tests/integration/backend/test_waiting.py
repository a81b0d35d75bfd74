"""Trainers that wait for a job while its backend is away: docs/waiting.md, "Lost connections"."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arkor import Aborted, CheckpointContext, ConnectionFailed, ReconnectExhausted, ReconnectPolicy, Trainer
from arkor.client.client import CloudApiClient
from arkor.client.project import ProjectState, write_state
from tests.support.backend import BackendProcess, Client
from tests.support.waiting import Told, Waiting

WAIT_S = 60.0
QUICK = ReconnectPolicy(base_delay=0.05, max_delay=0.2)


class Follow:
    """Attaches trainers to jobs of a backend, from a project folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clients: list[CloudApiClient] = []

    def __call__(self, client: Client, job_id: str, told: Told | None = None, **settings: Any) -> Trainer:
        session = CloudApiClient(client.url, token=client.token)
        self._clients.append(session)
        state = ProjectState(client.scope["orgSlug"], client.scope["projectSlug"], "proj_1")
        write_state(state, self._folder, host=session.identity.host_key)
        settings = {"reconnect": QUICK, "callbacks": told.callbacks() if told else None, **settings}
        return Trainer.attach(job_id, client=session, project_dir=self._folder, **settings)

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients:
            client.close()


class OnAbsence(logging.Handler):
    """Does something as soon as a wait notices that the backend is away, on the waiting thread, once."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__(logging.INFO)
        self._do: Callable[[], object] | None = do

    def emit(self, record: logging.LogRecord) -> None:
        do, is_it = self._do, record.getMessage().startswith("The backend is away")
        if do is not None and is_it:
            self._do = None
            do()


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Follow]:
    """What attaches trainers."""
    follow = Follow(tmp_path / "project")
    yield follow
    follow.close()


@pytest.fixture
def on_absence(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Say what happens when a wait notices that the backend is away."""
    caplog.set_level(logging.INFO, logger="arkor")
    handlers: list[OnAbsence] = []

    def add(do: Callable[[], object]) -> None:
        handlers.append(OnAbsence(do))
        logging.getLogger("arkor").addHandler(handlers[-1])

    yield add
    for handler in handlers:
        logging.getLogger("arkor").removeHandler(handler)


def _gated(backend: BackendProcess, config: dict[str, Any], steps: int) -> tuple[Client, str]:
    """Submit a job whose worker runs and waits before its first step."""
    client = backend.client()
    job_id: str = client.submit(f"gated:{steps}", {**config, "saveSteps": 1}).json()["job"]["id"]
    client.open_stream(job_id).until("training.started")
    return client, job_id


def test_a_wait_outlasts_a_restart_before_its_first_request(
    start: Callable[..., BackendProcess],
    config: dict[str, Any],
    follow: Follow,
    on_absence: Callable[[Callable[[], object]], None],
) -> None:
    """The backend is killed between ``attach`` and ``wait``, and starts when the wait has noticed."""
    backend, told = start(), Told()
    client, job_id = _gated(backend, config, 1)
    trainer = follow(client, job_id, told)
    backend.allow(job_id, 1)
    backend.kill()
    on_absence(backend.start)
    assert trainer.wait(WAIT_S, check=True).status == "completed"
    assert told.names == [("started", None), ("log", 1), ("checkpoint", 1), ("completed", None)]


def test_the_events_of_a_job_outlast_it_too(
    start: Callable[..., BackendProcess],
    config: dict[str, Any],
    follow: Follow,
    on_absence: Callable[[Callable[[], object]], None],
) -> None:
    """``events()`` is ``wait()`` as a loop."""
    backend = start()
    client, job_id = _gated(backend, config, 1)
    trainer = follow(client, job_id)
    backend.allow(job_id, 1)
    backend.kill()
    on_absence(backend.start)
    types = [event.type for event in trainer.events(WAIT_S)]
    assert types == ["training.started", "training.log", "checkpoint.saved", "training.completed"]


def test_a_wait_outlasts_a_restart_in_its_middle(
    start: Callable[..., BackendProcess], config: dict[str, Any], follow: Follow
) -> None:
    """A graceful one, which ends the stream and takes the worker along; each event comes once."""
    backend, logged = start(), threading.Event()
    client, job_id = _gated(backend, config, 2)
    told = Told(lambda name, _: logged.set() if name == "checkpoint" else None)
    waiting = Waiting(lambda: follow(client, job_id, told).wait(WAIT_S, check=True))
    backend.allow(job_id, 1)
    assert logged.wait(WAIT_S)
    backend.change(port=backend.url.rpartition(":")[2])
    assert backend.stop() == 0
    backend.start().allow(job_id, 2)
    assert waiting.outcome(WAIT_S).status == "completed"
    steps = [("log", 1), ("checkpoint", 1), ("log", 2), ("checkpoint", 2)]
    assert told.names == [("started", None), *steps, ("completed", None)]


def test_a_question_in_a_callback_outlasts_a_restart(
    start: Callable[..., BackendProcess],
    config: dict[str, Any],
    follow: Follow,
    on_absence: Callable[[Callable[[], object]], None],
) -> None:
    """A checkpoint is asked as soon as the backend answers again."""
    backend, answers = start(), []
    client, job_id = _gated(backend, config, 1)

    def ask(name: str, context: CheckpointContext) -> None:
        if name == "checkpoint":
            backend.kill()
            answers.append(context.infer(messages=[{"role": "user", "content": "hello"}]).text)

    trainer = follow(client, job_id, Told(ask))
    backend.allow(job_id, 1)
    on_absence(backend.start)
    assert trainer.wait(WAIT_S, check=True).status == "completed"
    assert len(answers) == 1
    assert answers[0]


def test_a_wait_for_a_backend_that_stays_away_ends_as_it_was_told(
    start: Callable[..., BackendProcess],
    config: dict[str, Any],
    follow: Follow,
    on_absence: Callable[[Callable[[], object]], None],
) -> None:
    """By its timeout, its abort event, or the limit of its policy."""
    backend, stop = start(), threading.Event()
    client, job_id = _gated(backend, config, 1)
    backend.kill()
    with pytest.raises(TimeoutError):
        follow(client, job_id).wait(timeout=0.5)
    bounded = follow(client, job_id, reconnect=ReconnectPolicy(base_delay=0.01, max_delay=0.02, max_attempts=1))
    with pytest.raises(ReconnectExhausted) as raised:
        bounded.wait(WAIT_S)
    assert (raised.value.attempts, type(raised.value.__cause__)) == (2, ConnectionFailed)
    on_absence(stop.set)
    with pytest.raises(Aborted):
        follow(client, job_id, abort_event=stop).wait(WAIT_S)
