"""A training that goes on from the adapter of another one, with a model that trains in no time."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.jobs import checkpoints
from arkor.backend.storage import keys
from arkor.backend.storage.interface import Storage
from arkor.backend.storage.local import LocalStorage
from arkor.backend.training_worker.stopping import Interrupted, Position, StopSwitch
from arkor.errors import ArkorError
from arkor.protocol.config import JobConfig
from tests.support.attempts import UPLOADED, Events, attempt

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

SHAPE: dict[str, Any] = {"lora_r": 4, "lora_target_modules": ["q_proj", "up_proj"], "modules_to_save": ["lm_head"]}
NEARLY_NOTHING = 1e-12  # a rate: the weights stay as they are

Run = Callable[..., Events]


@pytest.fixture
def run(model_folder: Path, rows: Path, tmp_path: Path) -> Run:
    """Make an attempt at a job of six steps, and return its events; its folder is ``tmp_path`` and its name."""
    from arkor.backend.training_worker.training import train

    def make(
        job: str,
        number: int = 1,
        base: Path | None = None,
        stop_at: int | None = None,
        storage: Storage | None = None,
        **settings: Any,
    ) -> Events:
        folder = tmp_path / job
        folder.mkdir(exist_ok=True)
        if base is not None:
            sha256 = hashlib.sha256(base.read_bytes()).hexdigest()
            settings["base_adapter"] = {"kind": "final", "jobId": "job_former", "sha256": sha256}
            if storage is None:
                shutil.copyfile(base, folder / checkpoints.BASE_ADAPTER)
            else:
                storage.put(base, f"{keys.job(job)}{checkpoints.BASE_ADAPTER}")
        usual: dict[str, Any] = {**SHAPE, "max_steps": 6, "learning_rate": 0.02, "batch_size": 2}
        usual["dataset_source"] = UPLOADED
        config = JobConfig(model=str(model_folder), **{**usual, **settings})
        of_job = {"job_id": job, "attempt": number, "storage": storage}
        spec = attempt(config, folder, rows, model_root=model_folder.parent, **of_job)
        stop = StopSwitch()
        events = Events(stop, lambda event: event["type"] == "training.log" and event["step"] == stop_at)
        train(spec, events, stop, Position())  # type: ignore[arg-type]
        return events

    return make


def weights_of(tar: Path) -> dict[str, Any]:
    """Return the tensors of an adapter's archive."""
    import safetensors.torch

    with tarfile.open(tar) as archive:
        file = archive.extractfile("adapter_model.safetensors")
        assert file is not None
        tensors: dict[str, Any] = safetensors.torch.load(file.read())
    return tensors


def test_it_begins_with_the_weights_of_the_other_one(run: Run, tmp_path: Path) -> None:
    """Also those of whole modules. Its adapter stands alone, and is trained on: the loss goes on from there."""
    former = run("former")
    base = tmp_path / "former" / "artifacts" / "adapter.tar"
    still = run("still", base=base, learning_rate=NEARLY_NOTHING)
    before, after = weights_of(base), weights_of(tmp_path / "still" / "artifacts" / "adapter.tar")
    assert before.keys() == after.keys()
    assert any("lm_head" in name for name in before)
    assert all((before[name] - after[name]).abs().max() < 1e-6 for name in before)
    on = run("on", base=base)
    assert on.figures("loss")[1] == pytest.approx(still.figures("loss")[1])
    assert on.figures("loss")[1] < former.figures("loss")[1]
    assert on.figures("loss")[6] < still.figures("loss")[6]


def test_the_record_says_which_adapter_it_was(run: Run, tmp_path: Path) -> None:
    """By its SHA-256; the id of the other job is nobody's business in an archive."""
    run("former")
    base = tmp_path / "former" / "artifacts" / "adapter.tar"
    (started,) = (event for event in run("on", base=base).sent if event["type"] == "training.started")
    known = {"sha256": hashlib.sha256(base.read_bytes()).hexdigest()}
    assert started["metadata"]["record"]["baseAdapter"] == known
    assert "baseAdapter" not in started["metadata"]["record"]["settings"]


def test_a_resumed_attempt_goes_on_from_its_own_checkpoint(run: Run, tmp_path: Path) -> None:
    """Its losses are those of a training that was not broken."""
    run("former")
    base = tmp_path / "former" / "artifacts" / "adapter.tar"
    whole = run("whole", base=base)
    with pytest.raises(Interrupted):
        run("broken", base=base, stop_at=3)
    resumed = run("broken", 2, base=base)
    assert resumed.figures("loss") == pytest.approx(whole.figures("loss"))


def test_each_attempt_has_the_base_adapter_out_of_the_storage(run: Run, rows: Path, tmp_path: Path) -> None:
    """Also one that goes on from a checkpoint, on another machine: the archive may say what the settings do not."""
    run("former")
    storage, source = LocalStorage(tmp_path / "storage"), {"type": "dataset", "id": "a" * 64}
    storage.put(rows, keys.dataset("a" * 64))
    settings = {"base": tmp_path / "former" / "artifacts" / "adapter.tar", "dataset_source": source, "storage": storage}
    with pytest.raises(Interrupted):
        run("on", stop_at=3, **settings)
    for folder in (tmp_path / "on", tmp_path / "storage" / "jobs" / "on"):
        assert (folder / checkpoints.BASE_ADAPTER).is_file()
    shutil.rmtree(tmp_path / "on")
    resumed = run("on", 2, **settings)
    assert (tmp_path / "on" / checkpoints.BASE_ADAPTER).is_file()
    assert resumed.sent[0]["metadata"]["resumedFromStep"] >= 3


def test_an_archive_that_was_changed_is_noticed(run: Run, tmp_path: Path) -> None:
    """One byte is enough."""
    run("former")
    base = tmp_path / "former" / "artifacts" / "adapter.tar"
    sha256 = hashlib.sha256(base.read_bytes()).hexdigest()
    content = bytearray(base.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "on").mkdir()
    (tmp_path / "on" / checkpoints.BASE_ADAPTER).write_bytes(content)
    with pytest.raises(ArkorError, match="was changed on the disk: start a new job"):
        run("on", base_adapter={"kind": "final", "jobId": "job_former", "sha256": sha256})


def test_an_adapter_of_other_modules_does_not_fit(run: Run, tmp_path: Path) -> None:
    """The base model's folder may have another model by now."""
    run("former", lora_target_modules=["v_proj"])
    with pytest.raises(ArkorError, match="has other modules"):
        run("on", base=tmp_path / "former" / "artifacts" / "adapter.tar")
