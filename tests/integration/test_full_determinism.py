"""With full determinism an adapter has the same bytes each time, and a reproduction says whether it has.

The model is real and very small; the backends, the trainings and the chats are real. The settings are those that need
the most care: random numbers in each step, evaluations in between, and rows whose order is drawn in each epoch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest

import arkor
from arkor import NotReproducible, Trainer, TrainingResult
from arkor.backend.processes.child_engine import ProcessEngine
from tests.support.backend import BackendProcess
from tests.support.by_heart import real_backend, write_sure_model
from tests.support.small_model import write_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.training,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

STEPS = 120
SETTINGS: dict[str, Any] = {
    "full_determinism": True,
    "dataset_split": {"eval_fraction": 0.2},
    "learning_rate": 3e-2,
    "max_steps": STEPS,
    "eval_steps": 10,
    "save_steps": 7,
    "train_sampling_strategy": "group_by_length",
    "neftune_noise_alpha": 5.0,
    "lora": {"r": 8, "alpha": 16, "dropout": 0.1},
}
FILES = ("adapter_model.safetensors", "adapter_config.json", "arkor.json")
needs_two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is one number of threads only")


@attrs.define
class Seen:
    """What happened during a run."""

    interrupted: int = 0
    paused: int = 0
    threads: list[int] = attrs.field(factory=list)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that all of them train."""
    return write_sure_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A backend with a HOME of its own."""
    running = real_backend(tmp_path_factory.mktemp("one"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Another one, with another HOME."""
    running = real_backend(tmp_path_factory.mktemp("another-home"))
    yield running
    running.close()


def train(
    backend: BackendProcess,
    model: Path,
    folder: Path,
    *,
    kill_at: int | None = None,
    pause_at: int | None = None,
    **settings: Any,
) -> tuple[TrainingResult, Seen]:
    """Train in a project of its own, disturbed as asked for; return the result and what happened."""
    given = {**SETTINGS, **settings}
    trainer = Trainer(
        name="bytes",
        model=str(model),
        dataset=write_rows(folder / "rows.jsonl"),
        backend=backend.url,
        project_dir=folder,
        **given,
    )
    trainer.start()
    seen = Seen()
    for event in trainer.events(timeout=300):
        if isinstance(event, arkor.TrainingLogEvent):
            if kill_at is not None and event.step >= kill_at:
                kill_at = None
                engine = ProcessEngine("arkor.backend.training_worker")
                for _, worker in engine.find(backend.data):
                    engine.kill(worker)
            if pause_at is not None and event.step >= pause_at:
                pause_at = None
                trainer.pause()
        elif isinstance(event, arkor.TrainingInterruptedEvent):
            seen.interrupted += 1
        elif isinstance(event, arkor.TrainingPausedEvent):
            seen.paused += 1
            trainer.unpause()
        elif isinstance(event, arkor.TrainingCompletedEvent):
            seen.threads = event.metrics["threads"]
    return trainer.wait(timeout=60, check=True), seen


def hashes(result: TrainingResult, folder: Path) -> list[str]:
    """Return the SHA-256 of each file of the final adapter."""
    result.download(folder / "out")
    return [hashlib.sha256((folder / "out" / "adapter" / name).read_bytes()).hexdigest() for name in FILES]


@contextlib.contextmanager
def chatting(backend: BackendProcess, model: Path, folder: Path) -> Iterator[None]:
    """Ask one question after the other inside the block."""
    from arkor.client.client import CloudApiClient
    from arkor.client.project import ensure_project

    client = CloudApiClient.connect(backend.url)
    scope = ensure_project(client, folder)
    done, answered = threading.Event(), threading.Event()

    def ask() -> None:
        while not done.is_set():
            client.chat(scope, base_model=str(model), messages=[{"role": "user", "content": "say w1"}], max_tokens=60)
            answered.set()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert answered.wait(120), "the first chat was not answered"
        yield
    finally:
        done.set()
        thread.join(60)


@pytest.fixture(scope="module")
def undisturbed(
    backend: BackendProcess, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingResult, list[str]]:
    """A run that nothing disturbs, and its hashes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    result, _ = train(backend, model, folder)
    return result, hashes(result, folder)


def test_a_kill_at_any_step_changes_no_byte(
    undisturbed: tuple[TrainingResult, list[str]], other: BackendProcess, model: Path, tmp_path: Path
) -> None:
    """In another HOME; the job goes on from its last checkpoint."""
    step = random.randrange(1, STEPS // 2)
    result, seen = train(other, model, tmp_path, kill_at=step)
    assert seen.interrupted == 1
    assert hashes(result, tmp_path) == undisturbed[1], f"killed after step {step}"


def test_a_pause_at_any_step_changes_no_byte(
    undisturbed: tuple[TrainingResult, list[str]], other: BackendProcess, model: Path, tmp_path: Path
) -> None:
    """Also in the middle of an evaluation, or just before one."""
    step = random.randrange(1, STEPS // 2)
    result, seen = train(other, model, tmp_path, pause_at=step)
    assert seen.paused == 1
    assert hashes(result, tmp_path) == undisturbed[1], f"paused after step {step}"


@needs_two_cores
def test_chats_change_no_byte(
    undisturbed: tuple[TrainingResult, list[str]], other: BackendProcess, model: Path, tmp_path: Path
) -> None:
    """The job keeps its threads; another one gives half of the cores away."""
    with chatting(other, model, tmp_path):
        result, seen = train(other, model, tmp_path)
        _, others = train(other, model, tmp_path, full_determinism=False)
    assert seen.threads == [os.cpu_count()]
    assert others.threads != [os.cpu_count()]
    assert hashes(result, tmp_path) == undisturbed[1]
    record = result.record
    assert record is not None
    assert record.threads == os.cpu_count()


def test_a_reproduction_has_the_same_bytes(undisturbed: tuple[TrainingResult, list[str]]) -> None:
    """It says so with their hash, and can be compared again."""
    result, known = undisturbed
    statuses: list[str] = []
    found = result.reproduce(timeout=300, on_progress=lambda job: statuses.append(job.status))
    assert (found.is_same, found.sha256, found.record_difference) == (True, known[0], None)
    assert str(found) == (
        f"The same bytes: adapter_model.safetensors has SHA-256 {known[0]}, and adapter_config.json is the same too."
    )
    assert (statuses[0], statuses[-1]) == ("queued", "completed")
    assert result.reproduce(timeout=60, with_job=found.again_id) == found


@needs_two_cores
def test_a_reproduction_on_other_threads_is_noticed(
    backend: BackendProcess, model: Path, tmp_path: Path, undisturbed: tuple[TrainingResult, list[str]]
) -> None:
    """Before it trains; anyway, it says what was otherwise, and how to have the same bytes."""
    result, _ = train(
        backend, model, tmp_path, full_determinism=False, max_steps=200
    )  # not done before it is cancelled
    port = urlsplit(backend.url).port
    backend.stop()
    backend.change(port=port, max_parallel=os.cpu_count())
    backend.start()
    with pytest.raises(NotReproducible) as stopped:
        result.reproduce(timeout=300)
    assert stopped.value.difference == f"the number of threads was {os.cpu_count()}, and is 1 now"
    cancelled = Trainer.attach(stopped.value.again_id, backend=backend.url, project_dir=tmp_path).wait(timeout=60)
    assert (cancelled.status, cancelled.job.name) == ("cancelled", "bytes (reproduced)")
    found = result.reproduce(timeout=300, anyway=True)
    assert str(found.record_difference) == stopped.value.difference
    said = str(found).splitlines()
    assert said[0].endswith(f"were made otherwise: {stopped.value.difference}.")
    assert said[1].startswith("The same bytes: " if found.is_same else "Other bytes: the first tensor that differs is ")
    assert said[2].startswith("The job was trained without full_determinism: ")
