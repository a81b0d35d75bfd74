"""Samples over the wire: from a worker through the backend to the callback, to the result and to the command line."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from arkor import (
    Aborted,
    ArkorError,
    HuggingFaceDataset,
    SampleContext,
    SampleMadeEvent,
    Samples,
    Trainer,
    UnsupportedByBackend,
    WaitTimeout,
)
from arkor.client.result import TrainingResult
from arkor.protocol import events
from arkor.protocol.jobs import TrainingJob
from tests.support.backend import BackendProcess
from tests.support.cloud import Cloud
from tests.support.contract import Stream
from tests.support.events import completed, frame, log, sample_made, started
from tests.support.tiny_model import write_tiny_model
from tests.support.waiting import AT_ONCE_S, make_trainer

PROMPTS: list[Any] = ["Hello?", [{"role": "user", "content": "Who?"}]]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A backend whose workers train nothing."""
    backend = BackendProcess(tmp_path_factory.mktemp("backend")).start()
    yield backend
    backend.close()


def scripted(backend: BackendProcess, folder: Path, name: str, **settings: Any) -> Trainer:
    """Return the trainer of a scripted job, whose checkpoints have samples."""
    model = str(write_tiny_model(folder / "model"))
    given: dict[str, Any] = {"save_steps": 2, "sample_prompts": PROMPTS, "project_dir": folder, **settings}
    return Trainer(name=name, model=model, dataset=HuggingFaceDataset("a/b"), backend=backend.url, **given)


@pytest.mark.parametrize("name", ["complete:6", "stumble:-9@4/6"], ids=["undisturbed", "killed"])
def test_samples_come_as_events_and_are_kept_with_the_job(backend: BackendProcess, tmp_path: Path, name: str) -> None:
    """Each once and in order, also where an attempt was killed and the next one tells them again."""
    told: list[SampleContext] = []
    trainer = scripted(backend, tmp_path, name, callbacks={"on_sample": told.append})
    seen: list[Any] = []
    result = trainer.wait(timeout=60, check=True, on_event=seen.append)
    expected = [(step, sample, PROMPTS[sample]) for step in (0, 2, 4, 6) for sample in (0, 1)]
    assert [(context.step, context.sample, context.prompt) for context in told] == expected
    assert {context.job.id for context in told} == {result.job.id}
    samples = result.samples(timeout=60)
    assert isinstance(samples, Samples)
    assert [(sample.step, sample.sample, sample.prompt) for sample in samples] == expected
    assert [sample.answer for sample in samples.at(4)] == ["answer 1 of step 4", "answer 2 of step 4"]
    assert sum(isinstance(event, SampleMadeEvent) for event in seen) == len(expected)
    assert result.job.config["samplePrompts"] == PROMPTS
    assert all("loss" in entry.body for entry in result.metrics())  # a sample is none


def test_held_out_rows_have_their_expected_answers(backend: BackendProcess, tmp_path: Path) -> None:
    """And their numbers."""
    split = {"dataset_split": {"eval_fraction": 0.5}}
    result = scripted(backend, tmp_path, "complete:2", sample_prompts=2, **split).wait(timeout=60, check=True)
    (first, _) = result.samples().at(0)
    assert (first.row, first.expected, first.exact, first.truncated) == (1, "yes", False, False)


def test_a_count_without_held_out_rows_is_refused(backend: BackendProcess, tmp_path: Path) -> None:
    """By the backend, which says what to do; no job is made."""
    trainer = scripted(backend, tmp_path, "complete:2", sample_prompts=3)
    with pytest.raises(ArkorError, match=r"sample_prompts: asks rows that are held out.*or give the prompts"):
        trainer.start()
    assert trainer.job is None


def test_a_backend_without_the_feature_gets_no_job(cloud: Cloud, routed_cloud: Cloud) -> None:
    """It would ask nothing, and nobody would know why."""
    trainer = make_trainer(routed_cloud, sample_prompts=PROMPTS, save_steps=2)
    with pytest.raises(UnsupportedByBackend, match="sample_prompts"):
        trainer.start()
    assert cloud.calls("POST", "/v1/jobs") == []


def test_fetching_samples_can_be_broken_off(routed_cloud: Cloud) -> None:
    """By a timeout, and by an event; without one it is read from the stream of any backend."""
    plan: list[Mapping[str, Any]] = [
        started(),
        sample_made(0, prompt="Q"),
        log(1),
        sample_made(1, prompt="Q"),
        completed(),
    ]
    routed_cloud.plan = plan
    result = make_trainer(routed_cloud).wait(timeout=AT_ONCE_S)
    assert [(sample.step, sample.answer) for sample in result.samples()] == [(0, "at 0"), (1, "at 1")]
    gate, abort = threading.Event(), threading.Event()
    for _ in range(2):
        routed_cloud.stream(Stream(frames=[frame(1, plan[0])], gate=gate))
    with pytest.raises(WaitTimeout):
        result.samples(timeout=0.3)
    abort.set()
    with pytest.raises(Aborted):
        result.samples(abort_event=abort)
    gate.set()


def test_a_reader_that_knows_no_samples_passes_over_them(routed_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every reader does with a type that it does not know."""
    monkeypatch.delitem(events._READERS, "sample.made")
    routed_cloud.plan = [started(), sample_made(0), log(1, 0.5), completed()]
    told: list[str] = []
    make_trainer(routed_cloud).wait(timeout=AT_ONCE_S, check=True, on_event=lambda event: told.append(event.type))
    assert told == ["training.started", "training.log", "training.completed"]


def test_a_result_of_its_own_knows_no_samples() -> None:
    """It names the call that does."""
    with pytest.raises(ArkorError, match=r"CloudApiClient\.job_samples"):
        TrainingResult(TrainingJob(id="job_1")).samples()
