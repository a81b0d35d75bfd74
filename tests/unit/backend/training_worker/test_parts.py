"""The small parts of a worker that need no library: its spec, its settings, its texts, and how it is stopped."""

from __future__ import annotations

import errno
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor.backend.training_worker import settings
from arkor.backend.training_worker.__main__ import _on_kept_threads, _to_be_resumed
from arkor.backend.training_worker.failures import explain
from arkor.backend.training_worker.limits.device import Device, attention_for
from arkor.backend.training_worker.spec import WorkerSpec, read_spec
from arkor.backend.training_worker.stopping import Interrupted, Position, StopReason, StopSwitch
from arkor.errors import ArkorError, DatasetError, ObjectMissing, StorageError
from arkor.protocol.config import JobConfig
from arkor.system.files import write_atomically

CPU = Device("cpu", "float32")


def body(**config: Any) -> dict[str, Any]:
    return {
        "jobId": "job_1",
        "attempt": 1,
        "token": "secret-token",
        "backendUrl": "http://127.0.0.1:1/",
        "name": "n",
        "config": {"model": "m", "datasetSource": {"type": "dataset", "id": "0"}, **config},
        "datasetPath": None,
        "evalDatasetPath": "/held-out.jsonl",
        "jobDir": "/job",
        "threads": 2,
    }


def written(tmp_path: Path, **config: Any) -> WorkerSpec:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(body(**config)))
    return read_spec(path)


def test_a_spec_is_read(tmp_path: Path) -> None:
    """And never shows its token."""
    spec = written(tmp_path, maxSteps=3)
    assert (spec.job_id, spec.config.max_steps, spec.backend_url) == ("job_1", 3, "http://127.0.0.1:1")
    assert spec.checkpoints_dir == Path("/job/checkpoints")
    assert (spec.dataset_path, spec.eval_dataset_path) == (None, Path("/held-out.jsonl"))
    assert "secret" not in repr(spec)
    assert not spec.tells_preparing  # the spec of an older backend, which would refuse the event


def with_storage(tmp_path: Path, **config: Any) -> WorkerSpec:
    """Return the spec of an attempt whose storage is another place than its work folder, which is new."""
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    told = {**body(**config), "storage": str(tmp_path / "storage"), "jobDir": str(work), "takesFaults": True}
    (tmp_path / "spec.json").write_text(json.dumps(told))
    return read_spec(tmp_path / "spec.json")


def test_a_job_has_its_files_in_the_storage_of_its_spec(tmp_path: Path) -> None:
    """That of an older backend names none: all files are in the folder of the job."""
    spec = with_storage(tmp_path)
    assert (spec.files.are_apart, spec.files.key("lengths.json")) == (True, "jobs/job_1/lengths.json")
    older = written(tmp_path)
    assert (older.files.are_apart, older.files.storage.path(older.files.key("x"))) == (False, Path("/job/x"))


def test_each_attempt_computes_on_the_threads_of_the_first_one(tmp_path: Path) -> None:
    """With full determinism, also on another machine, which has other cores."""
    spec = with_storage(tmp_path, fullDeterminism=True)
    write_atomically(spec.job_dir / "threads.json", b"2")
    assert _on_kept_threads(spec).threads == 2
    write_atomically(spec.job_dir / "threads.json", b"8")
    assert _on_kept_threads(attrs.evolve(spec, threads=8)).threads == 2
    assert _on_kept_threads(attrs.evolve(with_storage(tmp_path), threads=8)).threads == 8


@pytest.mark.parametrize(
    ("error", "code"),
    [(StorageError("no answer", "s3://b"), 69), (ObjectMissing("gone", "s3://b/x"), None), (OSError(28, "full"), 28)],
)
def test_a_storage_that_is_away_ends_an_attempt_and_not_the_job(
    tmp_path: Path, error: Exception, code: int | None
) -> None:
    """An object that is gone does not come back."""
    assert _to_be_resumed(error, with_storage(tmp_path), Position()) == code


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"jobId": 1}'])
def test_a_spec_that_cannot_be_used_is_an_error(tmp_path: Path, content: str) -> None:
    """One that names the file."""
    path = tmp_path / "spec.json"
    path.write_text(content)
    with pytest.raises(ArkorError, match=r"spec\.json"):
        read_spec(path)


SHAPE = {
    "r": 16,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "use_rslora": False,
    "use_dora": False,
    "init_lora_weights": True,
    "layers_to_transform": None,
    "modules_to_save": None,
}


def test_what_the_config_leaves_open_has_a_value(tmp_path: Path) -> None:
    """The documented defaults."""
    arguments = settings.training_arguments(written(tmp_path), CPU, 1024, evaluate=False)
    expected = {
        "max_steps": -1,
        "num_train_epochs": 1.0,
        "learning_rate": 2e-4,
        "per_device_train_batch_size": 4,
        "optim": "adamw_torch",
        "lr_scheduler_type": "linear",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "gradient_accumulation_steps": 1,
        "warmup_steps": 0,
        "logging_steps": 1,
        "eval_strategy": "no",
        "seed": 42,
        "max_length": 1024,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
    }
    assert {name: arguments[name] for name in expected} == expected
    assert settings.arguments_of(JobConfig.from_wire(body()["config"]), "LoraConfig") == SHAPE


def test_what_the_config_says_is_done(tmp_path: Path) -> None:
    """Every setting reaches the trainer."""
    spec = written(
        tmp_path,
        maxSteps=7,
        numTrainEpochs=2.5,
        learningRate=0.1,
        batchSize=3,
        optim="sgd",
        lrSchedulerType="cosine",
        weightDecay=0.2,
        maxGradNorm=0.5,
        gradientAccumulationSteps=2,
        seed=7,
        warmupSteps=5,
        loggingSteps=6,
        evalSteps=8,
        maxLength=99,
        loraR=2,
        loraAlpha=3,
    )
    arguments = settings.training_arguments(spec, CPU, 99, evaluate=True)
    expected = {
        "max_steps": 7,
        "num_train_epochs": 2.5,
        "learning_rate": 0.1,
        "per_device_train_batch_size": 3,
        "optim": "sgd",
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.2,
        "max_grad_norm": 0.5,
        "gradient_accumulation_steps": 2,
        "seed": 7,
        "warmup_steps": 5,
        "logging_steps": 6,
        "eval_strategy": "steps",
        "eval_steps": 8,
        "max_length": 99,
    }
    assert {name: arguments[name] for name in expected} == expected
    assert settings.arguments_of(spec.config, "LoraConfig") == {**SHAPE, "r": 2, "lora_alpha": 3}


@pytest.mark.parametrize(
    ("config", "rows", "steps"),
    [
        ({}, 10, 3),
        ({"numTrainEpochs": 2, "batchSize": 5}, 10, 4),
        ({"numTrainEpochs": 0.5}, 10, 2),
        ({"batchSize": 2, "gradientAccumulationSteps": 3}, 10, 2),
        ({"numTrainEpochs": 1.5, "batchSize": 2, "gradientAccumulationSteps": 4}, 10, 3),
        ({"maxSteps": 60, "numTrainEpochs": 2}, 10, 60),
        ({"batchSize": 2, "gradientAccumulationSteps": 2, "devices": 2}, 10, 2),
        ({"batchSize": 3, "devices": 4}, 13, 2),
        ({"dryRun": True}, 8, 2),
        ({"dryRun": True, "maxSteps": 1}, 8, 1),
    ],
)
def test_the_steps_of_a_training(config: dict[str, Any], rows: int, steps: int) -> None:
    """By steps, by epochs, and in a dry run."""
    assert settings.total_steps(JobConfig.from_wire(body(**config)["config"]), rows) == steps


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (CPU, {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}),
        (
            Device("cuda", "bfloat16"),
            {"use_cpu": False, "bf16": True, "gradient_checkpointing": True, "dataloader_pin_memory": True},
        ),
        (
            Device("mps", "float32"),
            {"use_cpu": False, "bf16": False, "gradient_checkpointing": True, "dataloader_pin_memory": False},
        ),
    ],
    ids=["cpu", "cuda", "mps"],
)
def test_the_arguments_for_a_device(tmp_path: Path, device: Device, expected: dict[str, bool]) -> None:
    """TRL's own defaults are for CUDA devices."""
    arguments = settings.training_arguments(written(tmp_path), device, 99, evaluate=False)
    assert {name: arguments[name] for name in expected} == expected


def test_small_score_matrices_are_kept_on_a_cpu() -> None:
    """Long rows, and other devices, leave the attention to the model."""

    class Config:
        num_attention_heads, num_hidden_layers = 9, 30

        def get_text_config(self) -> Config:
            return self

    assert attention_for(CPU, Config(), 4, 196) == "eager"
    assert attention_for(CPU, Config(), 4, 1024) is None
    assert attention_for(Device("cuda", "bfloat16"), Config(), 4, 196) is None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on the disk of"),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/1"), "No space left"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), "No space left"),
        (MemoryError(), "Not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "Not enough memory"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.96 GiB"), "Not enough memory"),
        (DatasetError("rows", "is bad", [(17, "text must not be empty")]), "rows: is bad; row 17: text must not be"),
        (ValueError("first\n\n  second"), "ValueError: first; second"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_failure_is_told_in_one_line(tmp_path: Path, error: Exception, says: str) -> None:
    """What happened, and what to do where that is known."""
    text = explain(error, tmp_path)
    assert text.startswith(says)
    assert "\n" not in text


def test_a_full_disk_is_found_behind_another_error(tmp_path: Path) -> None:
    """Libraries wrap what the system said."""
    error = ValueError("could not save")
    error.__cause__ = OSError(errno.ENOSPC, "")
    assert explain(error, tmp_path).startswith("No space left")


@pytest.fixture
def switch() -> Iterator[StopSwitch]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    made = StopSwitch()
    made.install()
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def wait_interrupted(switch: StopSwitch, ask: Any) -> StopReason:
    thread = threading.Timer(0.05, ask)
    thread.start()
    with pytest.raises(Interrupted) as caught:
        threading.Event().wait(10)
    thread.join()
    return caught.value.reason


def test_loading_is_interrupted_wherever_it_is(switch: StopSwitch) -> None:
    """A thread asks, and the main thread unwinds at once; the first reason counts."""
    assert wait_interrupted(switch, lambda: switch.request(StopReason.CANCELLED)) is StopReason.CANCELLED
    switch.request(StopReason.ORPHANED)
    assert switch.reason is StopReason.CANCELLED


def test_sigterm_interrupts_loading(switch: StopSwitch) -> None:
    """With the reason that makes the backend resume the job."""
    ask = signal.pthread_kill
    main = threading.main_thread().ident
    assert main is not None
    assert wait_interrupted(switch, lambda: ask(main, signal.SIGTERM)) is StopReason.TERMINATED


def test_training_is_not_interrupted_but_looks_itself(switch: StopSwitch) -> None:
    """What is being saved is saved whole."""
    switch.hold()
    signal.raise_signal(signal.SIGTERM)
    assert switch.reason is StopReason.TERMINATED
    with pytest.raises(Interrupted):
        switch.check()
    with pytest.raises(Interrupted):
        switch.hold()
