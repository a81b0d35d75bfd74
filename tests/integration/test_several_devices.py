"""Trainings on two devices: two processes that share the cores, with a model that trains in no time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest

from arkor.backend.jobs import checkpoints
from arkor.protocol.config import JobConfig
from tests.support.attempts import UPLOADED, Events
from tests.support.eventually import eventually
from tests.support.receiver import TOKEN, Receiver
from tests.support.two_devices import AS_ONE, FIGURES, SETTINGS, STEPS, TWO, alone

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

ROOT = Path(__file__).parents[2]


@attrs.frozen
class Job:
    """A job whose workers report to a receiver."""

    receiver: Receiver
    model: Path
    rows: Path
    folder: Path

    def start(self, number: int = 1, /, **settings: Any) -> subprocess.Popen[bytes]:
        """Start a worker as the engine does."""
        config = JobConfig(model=str(self.model), dataset_source=UPLOADED, **{**SETTINGS, **settings})
        spec = {
            "jobId": "job_1",
            "attempt": number,
            "token": TOKEN,
            "backendUrl": self.receiver.url,
            "name": "two",
            "config": config.to_wire(),
            "datasetPath": str(self.rows),
            "jobDir": str(self.folder),
            "modelRoot": str(self.model.parent),
            "threads": 1,
            "takesFaults": True,
        }
        self.folder.mkdir(exist_ok=True)
        (self.folder / "spec.json").write_text(json.dumps(spec))
        command = [sys.executable, "-m", "arkor.backend.training_worker", str(self.folder / "spec.json")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (self.folder / "worker.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def figures(self, name: str) -> dict[int, float]:
        return {event["step"]: event[name] for event in self.receiver.of_type("training.log") if name in event}


@pytest.fixture
def job(model_folder: Path, rows: Path, tmp_path: Path) -> Any:
    """A job of two devices."""
    with Receiver() as receiver:
        yield Job(receiver, model_folder, rows, tmp_path / "job")


@pytest.fixture(scope="module")
def one(model_folder: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Events:
    """What one device tells, with twice as many batches in a step."""
    return alone(model_folder, rows, tmp_path_factory.mktemp("one"), **AS_ONE)


def _partners(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in psutil.Process(worker.pid).children() if "partner" in " ".join(child.cmdline())]


def test_two_devices_learn_as_one_with_twice_the_batches(job: Job, one: Events) -> None:
    """Each figure of each step is the same, but for rounding; also where a process of them is killed in the middle."""
    with job.start(**TWO) as first:
        job.receiver.wait_for("training.log", 120, step=10)
        (partner,) = _partners(first)
        partner.kill()
        assert first.wait(60) == -9  # as the process that was killed: perhaps for want of memory
    with job.start(2, **TWO) as second:
        assert second.wait(120) == 0
    started = [event["metadata"] for event in job.receiver.of_type("training.started")]
    assert started[-1]["resumedFromStep"] in {8, 16, 24}
    assert {begun["maxSteps"] for begun in started} == {STEPS}
    for name in FIGURES:
        assert job.figures(name) == pytest.approx(one.figures(name), rel=1e-4, abs=1e-5)
    assert job.figures("loss").keys() == set(range(1, STEPS + 1))
    log = (job.folder / "worker.log").read_text()
    assert "On device 2 of 2: its worker was killed by signal SIGKILL" in log
    assert not list(job.folder.glob(".examples.*"))


def test_two_devices_stop_and_go_on_as_one_does(job: Job, one: Events) -> None:
    """Told to stop, both have saved and left; the checkpoint has the random numbers of both."""
    with job.start(**TWO) as first:
        job.receiver.wait_for("training.log", 120, step=3)
        partners = _partners(first)
        first.terminate()
        assert first.wait(60) == 4
    eventually(lambda: not any(map(psutil.Process.is_running, partners)), "the other process has left")
    saved = checkpoints.latest_complete(job.folder / checkpoints.FOLDER)
    assert saved is not None
    assert {file.name for file in saved.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    with job.start(2, **TWO) as second:
        job.receiver.wait_for("training.log", 120, step=STEPS - 6)
        job.receiver.cancel = True
        assert second.wait(60) == 0
    told = job.figures("loss")
    assert told == pytest.approx({step: loss for step, loss in one.figures("loss").items() if step in told}, rel=1e-4)
    assert job.receiver.events[-1]["type"] in {"training.cancelled", "training.completed"}


def test_two_devices_have_the_samples_of_the_first(
    job: Job, model_folder: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The other one waits meanwhile, and both learn as without."""
    settings: dict[str, Any] = {"max_steps": 4, "save_steps": 2, "eval_steps": 4}
    with job.start(**TWO, **settings, sample_prompts=2, sample_budget=1.0) as worker:
        assert worker.wait(120) == 0
    told = {(event["step"], event["sample"]): event["answer"] for event in job.receiver.of_type("sample.made")}
    assert list(told) == [(step, sample) for step in (0, 2, 4) for sample in (0, 1)]
    single = alone(model_folder, rows, tmp_path_factory.mktemp("alone"), **AS_ONE, **settings)
    assert job.figures("loss") == pytest.approx(single.figures("loss"), rel=1e-4)


@pytest.mark.slow
def test_the_other_process_leaves_with_the_first(job: Job) -> None:
    """Also when that is killed and its backend is gone, so that nobody else ends it."""
    with job.start(**{**TWO, "max_steps": 10_000}) as worker:
        job.receiver.wait_for("training.log", 120, step=3)
        partners = _partners(worker)
        worker.kill()
    eventually(lambda: not any(map(psutil.Process.is_running, partners)), "the other process has left")


@pytest.mark.slow
def test_two_devices_agree_on_the_best_evaluation(
    job: Job, model_folder: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One of them lets the model answer rows, and both stop early for it."""
    best: dict[str, Any] = {
        "load_best_model_at_end": True,
        "metric_for_best_model": "exact_match",
        "early_stopping_patience": 2,
        "eval_steps": 2,
        "save_total_limit": 1,
    }
    with job.start(**TWO, **best) as worker:
        assert worker.wait(120) == 0
    single = alone(model_folder, rows, tmp_path_factory.mktemp("best"), **AS_ONE, **best)
    told, expected = job.receiver.events[-1]["metrics"], single.sent[-1]["metrics"]
    for name in ("steps", "bestStep", "endReason"):
        assert told[name] == expected[name]
    assert told["steps"] < STEPS
    assert job.figures("evalScore") == single.figures("evalScore")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"batch_size": 16, "num_train_epochs": 4}, {}),  # more than there are rows for one of them
        ({"gradient_accumulation_steps": 2, "batch_size": 2}, {"gradient_accumulation_steps": 4, "batch_size": 2}),
        ({"optim": "sgd", "use_dora": True, "modules_to_save": ["lm_head"], "lora_target_modules": ["q_proj"]}, {}),
        ({"dtype": "bfloat16", "train_sampling_strategy": "random", "gradient_checkpointing": False}, {}),
    ],
    ids=["few rows", "accumulated", "whole modules", "bfloat16"],
)
def test_two_devices_learn_as_one(
    job: Job,
    model_folder: Path,
    rows: Path,
    tmp_path_factory: pytest.TempPathFactory,
    settings: dict[str, Any],
    same: dict[str, Any],
) -> None:
    """With other settings, too."""
    single = alone(model_folder, rows, tmp_path_factory.mktemp("one"), **{**settings, **AS_ONE, **same})
    with job.start(**TWO, **settings) as worker:
        assert worker.wait(120) == 0
    for name in FIGURES:
        assert job.figures(name) == pytest.approx(single.figures(name), rel=1e-4, abs=1e-5)


def test_one_device_takes_no_other_process(
    model_folder: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains in the worker itself, as before."""
    monkeypatch.setattr("arkor.backend.training_worker.others.Others", _fail)
    assert alone(model_folder, rows, tmp_path, max_steps=1, devices=1).sent[-1]["type"] == "training.completed"


def _fail(*_: Any) -> Callable[..., None]:
    raise AssertionError("another process was started")
