"""A training that is stopped and resumed in this process, with a model that trains in no time."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arkor.backend.jobs import checkpoints
from arkor.backend.jobs.job_files import JobFiles
from arkor.backend.storage import keys
from arkor.backend.storage.choose import open_storage
from arkor.backend.storage.interface import Content, Storage
from arkor.backend.training_worker.stopping import Interrupted, Position, StopSwitch
from arkor.errors import ArkorError
from arkor.protocol.config import JobConfig
from tests.support import s3
from tests.support.attempts import UPLOADED, Events, attempt as attempt_at

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

SPLIT: dict[str, Any] = {"dataset_split": {"evalFraction": 0.2}}
OWN: dict[str, Any] = {"eval_dataset_source": UPLOADED}


@pytest.fixture
def attempt(model_folder: Path, rows: Path, tmp_path: Path) -> Callable[..., None]:
    """Make an attempt at a job of six steps, each second of which is evaluated."""
    from arkor.backend.training_worker.training import train

    def make(job: str, number: int, events: Events, stop: StopSwitch, settings: dict[str, Any], **of_spec: Any) -> None:
        (tmp_path / job).mkdir(exist_ok=True)
        usual = {"dataset_source": UPLOADED, "max_steps": 6, "eval_steps": 2}
        config = JobConfig(model=str(model_folder), **{**usual, **settings})
        fields = {"job_id": job, "attempt": number, "eval_dataset_path": rows, "model_root": model_folder.parent}
        fields |= of_spec
        spec = attempt_at(config, tmp_path / job, rows, **fields)
        train(spec, events, stop, Position())  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize(("last_log", "saved", "held_out"), [(2, 2, SPLIT), (3, 4, OWN), (6, 6, SPLIT)])
def test_an_evaluation_that_a_stop_broke_off_is_made_up_for(
    attempt: Callable[..., None], last_log: int, saved: int, held_out: dict[str, Any]
) -> None:
    """A stop in its middle, or just before it: the next attempt evaluates first, and trains as if nothing had been."""
    whole, stop = Events(StopSwitch()), StopSwitch()
    attempt("whole", 1, whole, StopSwitch(), held_out)
    first = Events(stop, lambda event: event["type"] == "training.log" and event["step"] == last_log)
    with pytest.raises(Interrupted):
        attempt("stopped", 1, first, stop, held_out)
    second = Events(StopSwitch())
    attempt("stopped", 2, second, StopSwitch(), held_out)
    (started,) = (event for event in second.sent if event["type"] == "training.started")
    assert started["metadata"]["resumedFromStep"] == saved
    assert saved not in first.figures("evalLoss")
    for name in ("loss", "evalLoss"):
        assert second.figures(name) == pytest.approx(whole.figures(name))
    assert second.sent[-1]["type"] == "training.completed"


def _adapter(folder: Path) -> bytes:
    with tarfile.open(folder / "artifacts" / "adapter.tar") as archive:
        file = archive.extractfile("adapter_model.safetensors")
        assert file is not None
        return file.read()


@pytest.mark.parametrize("last_log", [1, 2, 3, 5, 6, 7])
def test_a_resumed_training_makes_the_same_adapter(attempt: Callable[..., None], tmp_path: Path, last_log: int) -> None:
    """With random numbers in each step, rows grouped by their length, and evaluations that one of them had not made.

    A pass over the rows takes four steps, so that some stops are in the second pass.
    """
    settings = {
        **SPLIT,
        "max_steps": 8,
        "lora_dropout": 0.5,
        "neftune_noise_alpha": 5.0,
        "train_sampling_strategy": "group_by_length",
        "learning_rate": 0.1,
    }
    attempt("whole", 1, Events(StopSwitch()), StopSwitch(), settings)
    stop = StopSwitch()
    events = Events(stop, lambda event: event["type"] == "training.log" and event["step"] == last_log)
    with pytest.raises(Interrupted):
        attempt("stopped", 1, events, stop, settings)
    attempt("stopped", 2, Events(StopSwitch()), StopSwitch(), settings)
    assert _adapter(tmp_path / "stopped") == _adapter(tmp_path / "whole")


def _stopped_at(attempt: Callable[..., None], job: str, step: int) -> None:
    stop = StopSwitch()
    events = Events(stop, lambda event: event["type"] == "training.log" and event["step"] == step)
    with pytest.raises(Interrupted):
        attempt(job, 1, events, stop, SPLIT)


@pytest.mark.parametrize(("size", "count"), [(2, 2), (1, 4)])
def test_smaller_batches_go_on_as_larger_ones_would(attempt: Callable[..., None], size: int, count: int) -> None:
    """An optimizer step takes the same rows, and so the losses are the same but for rounding."""
    whole = Events(StopSwitch())
    attempt("whole", 1, whole, StopSwitch(), SPLIT)
    _stopped_at(attempt, "halved", 3)
    second = Events(StopSwitch())
    attempt("halved", 2, second, StopSwitch(), {**SPLIT, "batch_size": size, "gradient_accumulation_steps": count})
    assert second.sent[0]["metadata"]["resumedFromStep"] == 4
    for name in ("loss", "evalLoss"):
        assert second.figures(name) == pytest.approx(whole.figures(name), abs=1e-4)
    assert second.sent[-1]["metrics"]["steps"] == 6


def test_a_step_that_memory_does_not_suffice_for_is_divided(
    attempt: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the start, and it says so; the losses are the same but for rounding."""
    from arkor.backend.models import hardware
    from arkor.backend.processes import memory_limit
    from arkor.backend.training_worker import memory

    whole = Events(StopSwitch())
    attempt("whole", 1, whole, StopSwitch(), SPLIT)
    monkeypatch.setattr(hardware, "available_bytes", lambda: 2)
    monkeypatch.setattr(memory_limit, "held_bytes", lambda _pid: 0)
    # A row takes a byte.

    def a_byte_for_each_row(config: JobConfig) -> Any:
        return SimpleNamespace(total=config.value("batch_size"))

    monkeypatch.setattr(memory, "estimator", lambda *_: a_byte_for_each_row)
    divided = Events(StopSwitch())
    attempt("divided", 1, divided, StopSwitch(), SPLIT)
    told = divided.sent[0]["metadata"]
    assert (told["record"]["settings"]["batchSize"], told["record"]["settings"]["gradientAccumulationSteps"]) == (2, 2)
    assert "takes 2 batches of 2 rows instead, and learns the same" in told["advice"][0]
    for name in ("loss", "evalLoss"):
        assert divided.figures(name) == pytest.approx(whole.figures(name), abs=1e-4)


def test_a_new_job_goes_on_from_the_checkpoint_of_another(attempt: Callable[..., None], tmp_path: Path) -> None:
    """Its events begin after the step of the checkpoint, and its losses are those of an unbroken training."""
    whole = Events(StopSwitch())
    attempt("whole", 1, whole, StopSwitch(), SPLIT)
    _stopped_at(attempt, "former", 3)
    (checkpoint,) = (tmp_path / "former" / "checkpoints").glob("checkpoint-*")
    checkpoints.hand_on(JobFiles.alone(tmp_path / "former"), JobFiles.alone(tmp_path / "new"))
    stop = StopSwitch()
    first = Events(stop, lambda event: event["type"] == "training.log" and event["step"] == 5)
    with pytest.raises(Interrupted):
        attempt("new", 1, first, stop, SPLIT, resumed_from_step=4)
    second = Events(StopSwitch())
    attempt("new", 2, second, StopSwitch(), SPLIT, resumed_from_step=4)
    assert first.sent[0]["metadata"]["resumedFromStep"] == 4
    assert second.sent[0]["metadata"]["resumedFromStep"] > 4
    assert (min(first.figures("loss")), min(second.figures("loss"))) == (5, 5)  # it tells its own steps again
    after = {step: loss for step, loss in whole.figures("loss").items() if step > 4}
    assert {**first.figures("loss"), **second.figures("loss")} == pytest.approx(after)
    assert second.sent[-1]["metrics"]["trainLoss"] == pytest.approx(whole.sent[-1]["metrics"]["trainLoss"])
    assert checkpoint.is_dir()  # the other job still has it


@pytest.mark.parametrize("size", [1, 3])
def test_the_batches_of_an_evaluation_do_not_change_its_loss(attempt: Callable[..., None], size: int) -> None:
    """Each counted token weighs the same, however the rows are divided."""
    whole, divided = Events(StopSwitch()), Events(StopSwitch())
    attempt("whole", 1, whole, StopSwitch(), {**SPLIT, "eval_batch_size": 100})
    attempt("divided", 1, divided, StopSwitch(), {**SPLIT, "eval_batch_size": size})
    assert divided.figures("evalLoss") == pytest.approx(whole.figures("evalLoss"), abs=1e-5)


def _flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_checkpoint_that_was_changed_on_the_disk_is_not_used(attempt: Callable[..., None], tmp_path: Path) -> None:
    """The job begins anew, and ends as an unbroken one; a resumed job cannot, and says so."""
    whole = Events(StopSwitch())
    attempt("whole", 1, whole, StopSwitch(), SPLIT)
    _stopped_at(attempt, "damaged", 3)
    (checkpoint,) = (tmp_path / "damaged" / "checkpoints").glob("checkpoint-*")
    checkpoints.hand_on(JobFiles.alone(tmp_path / "damaged"), JobFiles.alone(tmp_path / "new"))
    _flip_a_byte(checkpoint / "optimizer.pt")  # the other name of the file is the other job's
    second = Events(StopSwitch())
    attempt("damaged", 2, second, StopSwitch(), SPLIT)
    assert "resumedFromStep" not in second.sent[0]["metadata"]
    assert second.figures("loss") == pytest.approx(whole.figures("loss"))
    with pytest.raises(ArkorError, match=r"The checkpoint of step 4 .* is damaged: start a new job"):
        attempt("new", 1, Events(StopSwitch()), StopSwitch(), SPLIT, resumed_from_step=4)


def test_the_last_metrics_have_each_number_of_threads(attempt: Callable[..., None]) -> None:
    """The job starts on one, and the backend soon gives it two, as at the end of a chat."""
    events = Events(StopSwitch())
    events.threads = 2
    attempt("shared", 1, events, StopSwitch(), SPLIT)
    assert events.sent[0]["metadata"]["record"]["threads"] == 1
    assert events.sent[-1]["metrics"]["threads"] == [1, 2]


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A storage that is another place than the work folder."""
    if request.param == "folder":
        yield open_storage(str(tmp_path / "shared"))
        return
    with s3.moto_server(tmp_path / "moto.log") as endpoint:
        for name, value in {**s3.VARIABLES, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        yield open_storage(f"s3://{s3.BUCKET}/of-tests")


def test_a_training_goes_on_without_its_work_folder(
    attempt: Callable[..., None], rows: Path, storage: Storage, tmp_path: Path
) -> None:
    """Each attempt is on another machine: the adapter is that of an unbroken training, of its best evaluation."""
    sha256 = Content.of(rows).sha256
    storage.put(rows, keys.dataset(sha256))
    settings = {
        **SPLIT,
        "dataset_source": {"type": "dataset", "id": sha256},
        "max_steps": 8,
        "lora_dropout": 0.5,
        "learning_rate": 0.1,
        "load_best_model_at_end": True,
        "save_steps": 2,
        "save_total_limit": 2,
    }
    whole = Events(StopSwitch())
    attempt("whole", 1, whole, StopSwitch(), settings)
    elsewhere = {"storage": storage}
    found: list[Events] = []
    for number, last_log in ((1, 3), (2, 6)):
        stop = StopSwitch()
        found.append(Events(stop, lambda event, last=last_log: event.get("step") == last))  # type: ignore[misc]
        with pytest.raises(Interrupted):
            attempt("job_1", number, found[-1], stop, settings, **elsewhere)
        shutil.rmtree(tmp_path / "job_1")
    last = Events(StopSwitch())
    attempt("job_1", 3, last, StopSwitch(), settings, **elsewhere)
    resumed = [events.sent[0]["metadata"].get("resumedFromStep") for events in (*found, last)]
    assert resumed[0] is None
    assert resumed[1] >= 3
    assert resumed[2] >= 6
    assert last.figures("loss") == pytest.approx(whole.figures("loss"))
    assert last.sent[-1]["metrics"]["bestStep"] == whole.sent[-1]["metrics"]["bestStep"]
    made = {one["name"]: one for one in last.sent[-1]["artifacts"]}
    assert made.keys() == {one["name"] for one in whole.sent[-1]["artifacts"]}
    assert not list((tmp_path / "job_1" / "artifacts").glob("*.tar"))
    for name, one in made.items():
        file = tmp_path / "fetched" / "artifacts" / f"{name}.tar"
        storage.fetch(keys.artifact("job_1", name), file, Content(one["sizeBytes"], one["sha256"]))
    assert _adapter(tmp_path / "fetched") == _adapter(tmp_path / "whole")
