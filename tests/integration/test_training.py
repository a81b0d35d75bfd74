"""A real training of a real model through the worker process, shared by everything that is asserted about it."""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import pytest

import arkor
from arkor.client.unpack import unpack
from arkor.protocol.config import JobConfig
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord
from tests.support.backend import BackendProcess
from tests.support.blobs import BlobHost, head
from tests.support.eventually import eventually
from tests.support.receiver import TOKEN, Receiver

pytestmark = [pytest.mark.training, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m"
STEPS = 8
COLOURS = ("red", "green", "blue", "white", "black", "amber", "violet", "grey")


@attrs.frozen
class Run:
    """What a training left: its exit code, its events, and its folder."""

    code: int
    events: list[dict[str, Any]]
    folder: Path

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


def rows(count: int) -> list[dict[str, Any]]:
    """Return short conversations that are quick to learn."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"Lamp {number} is {COLOURS[number % 8]}. Report it."},
                {"role": "assistant", "content": f'{{"lamp": {number}, "colour": "{COLOURS[number % 8]}"}}'},
            ]
        }
        for number in range(count)
    ]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}


def start(
    receiver: Receiver, home: Path, folder: Path, attempt: int = 1, count: int = 40, **config: Any
) -> subprocess.Popen[bytes]:
    """Start a worker as the engine does."""
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(count)))
    spec = {
        "jobId": "job_1",
        "attempt": attempt,
        "token": TOKEN,
        "backendUrl": receiver.url,
        "name": "lamps",
        "config": {"model": MODEL, "datasetSource": {"type": "dataset", "id": "0" * 64}, **config},
        "datasetPath": str(data),
        "jobDir": str(folder),
        "threads": 2,
        "allowPrivateUrls": True,
        "tellsPreparing": True,
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "arkor.backend.training_worker", str(folder / "spec.json")]
    with (folder / "worker.log").open("ab") as log:
        return subprocess.Popen(command, env=environment(home), stdout=log, stderr=log, stdin=subprocess.DEVNULL)


CONFIG: dict[str, Any] = {
    "maxSteps": STEPS,
    "saveSteps": 4,
    "learningRate": 1e-3,
    "loraR": 8,
    "loraAlpha": 16,
    "datasetSplit": {"evalFraction": 0.1, "seed": 1},
}


@pytest.fixture(scope="module")
def run(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One training of 8 steps: stopped by SIGTERM after its fifth, and resumed by a second attempt."""
    folder = tmp_path_factory.mktemp("job")
    with Receiver() as receiver:
        with start(receiver, model_home, folder, **CONFIG) as first:
            receiver.wait_for("training.log", 120, step=5)
            first.terminate()
            assert first.wait(30) == 4
        assert {"training.completed", "training.failed"}.isdisjoint(event["type"] for event in receiver.events)
        stopped_at = max(event["step"] for event in receiver.of_type("training.log"))
        with start(receiver, model_home, folder, 2, **CONFIG) as second:
            code = second.wait(120)
        resumed = receiver.of_type("training.started")[-1]["metadata"]["resumedFromStep"]
    assert resumed == stopped_at
    return Run(code, receiver.events, folder)


@pytest.mark.slow
def test_a_worker_that_prepares_many_rows_reports_and_can_be_cancelled(model_home: Path, tmp_path: Path) -> None:
    """It tells each phase and how far it is; between these events it gives signs of life, so its lease holds."""
    with Receiver() as receiver, start(receiver, model_home, tmp_path, count=100_000, **CONFIG) as worker:
        begun = receiver.wait_for("training.preparing", 120)
        assert (begun["phase"], begun["done"], begun["total"]) == (
            "reading",
            0,
            (tmp_path / "rows.jsonl").stat().st_size,
        )
        eventually(lambda: any(told(receiver)), "some rows are tokenised", 120)
        lives = len(receiver.reports)
        eventually(lambda: len(receiver.reports) > lives + 3, "it gives signs of life", 120)
        receiver.cancel = True
        receiver.wait_for("training.cancelled", 30)
        assert worker.wait(30) == 0
    assert all(later - earlier >= 5_000 for earlier, later in itertools.pairwise(told(receiver)))
    assert receiver.of_type("training.started") == []


def told(receiver: Receiver) -> list[int]:
    """Return how many rows were tokenised at each event that says so."""
    return [event["done"] for event in receiver.of_type("training.preparing") if event["phase"] == "tokenizing"]


def test_a_cancel_ends_a_worker_that_waits_for_its_rows(model_home: Path, tmp_path: Path) -> None:
    """It does not wait for the server; nothing half fetched stays."""
    asked = threading.Event()

    def silent(file: BinaryIO) -> None:
        file.write(head() + b'{"text"')
        asked.set()
        server.leaving.wait()

    with (
        Receiver() as receiver,
        BlobHost([silent]) as server,
        start(receiver, model_home, tmp_path, datasetSource={"type": "blob", "url": server.url()}) as worker,
    ):
        assert asked.wait(120)
        receiver.cancel = True
        receiver.wait_for("training.cancelled", 30)
        assert worker.wait(30) == 0
    assert list(tmp_path.glob(".dataset*")) == []


def test_it_starts_with_what_it_trains(run: Run) -> None:
    """The metadata of ``training.started`` says on what, and where."""
    metadata = run.of_type("training.started")[0]["metadata"]
    assert metadata["trainableParameters"] == 2_442_240
    receipt = Receipt.from_wire(metadata["receipt"])
    assert receipt is not None
    assert (receipt.rows, receipt.held_out_rows, receipt.answers, receipt.unlearnt_answers) == (36, 4, 36, 0)
    assert receipt.max_length_reason == "the longest row"
    assert receipt.warnings() == []
    assert [text.partition(":")[0] for text in metadata["advice"]] == [
        "in 8 steps of 4 rows the model sees 32 of 36 examples",
        "learning_rate 0.001 over 8 steps is little for a model of 135 million parameters",
    ]
    others = metadata.keys() - {"trainableParameters", "receipt", "record", "advice"}
    assert {key: metadata[key] for key in others} == {
        "model": MODEL,
        "datasetFormat": "chatml",
        "promptForm": "chat",
        "trainRows": 36,
        "evalRows": 4,
        "truncatedRows": 0,
        "droppedRows": 0,
        "maxSteps": STEPS,
        "device": "cpu",
    }


def test_it_starts_with_what_makes_its_adapters(run: Run) -> None:
    """The settings have their defaults; the model and the rows are known without this machine."""
    record = TrainingRecord.from_wire(run.of_type("training.started")[0]["metadata"]["record"])
    assert record is not None
    assert record.settings == {
        "datasetFormat": {"type": "chatml"},
        "numTrainEpochs": 1.0,
        "batchSize": 4,
        "gradientAccumulationSteps": 1,
        "devices": 1,
        "optim": "adamw_torch",
        "lrSchedulerType": "linear",
        "weightDecay": 0.0,
        "maxGradNorm": 1.0,
        "metricForBestModel": "eval_loss",
        "greaterIsBetter": False,
        "warmupSteps": 0,
        "loggingSteps": 1,
        "applyChatTemplate": True,
        "chatTemplateKwargs": {},
        "seed": 42,
        "escapeSpecialTokens": False,
        "allowDroppedFields": [],
        "trainOnResponsesOnly": True,
        "dryRun": False,
        "excessLength": "drop",
        "loadIn4bit": False,
        "dataSeed": 42,
        "fullDeterminism": False,
        "dtype": "float32",
        "evalBatchSize": 8,
        "gradientCheckpointing": False,
        "loadBestModelAtEnd": False,
        "earlyStoppingThreshold": 0.0,
        "initLoraWeights": True,
        "loraDropout": 0.0,
        "loraTargetModules": "all-linear",
        "trainSamplingStrategy": "random",
        "useDora": False,
        "useRslora": False,
        "maxLength": record.settings["maxLength"],
        **CONFIG,
    }
    assert record.model["name"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert record.model["weights"] == "Q4_1 of a GGUF file, dequantized to bfloat16"
    assert (record.rows, record.held_out_rows) == ({"type": "dataset", "id": "0" * 64}, None)
    assert (record.device, record.dtype, record.threads) == ("cpu", "float32", 2)
    assert (record.versions["arkor"], record.versions["python"]) == (arkor.__version__, platform.python_version())
    assert run.of_type("training.completed")[0]["metrics"]["threads"] == [2]


def test_each_archive_says_what_made_it(run: Run) -> None:
    """The final adapter and each checkpoint, of both attempts: the base's public id, and the same record."""
    started = run.of_type("training.started")[0]["metadata"]
    expected = {name: value for name, value in started["record"].items() if name != "threads"}
    for artifact in run.of_type("training.completed")[0]["artifacts"]:
        with tarfile.open(run.folder / "artifacts" / f"{artifact['name']}.tar") as archive:
            config, made_from = (
                json.load(archive.extractfile(name))  # type: ignore[arg-type]
                for name in ("adapter_config.json", "arkor.json")
            )
        assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
        assert made_from == {**expected, "receipt": started["receipt"]}


def test_a_preview_foresees_it(run: Run, model_home: Path, tmp_path: Path) -> None:
    """A backend says before the job what its receipt will be, and shows a row with the tokens that count."""
    backend = BackendProcess(tmp_path / "backend", preview="arkor.backend.training_worker.preview").start()
    rows = arkor.LocalDataset(run.folder / "rows.jsonl")
    how: dict[str, Any] = {"model": str(model_home / ".arkor" / "models" / MODEL), "backend": backend.url}
    try:
        summary = rows.check(dataset_split={"eval_fraction": 0.1, "seed": 1}, **how)
        row = rows.preview(2, **how)
    finally:
        backend.close()
    assert summary.receipt == Receipt.from_wire(run.of_type("training.started")[0]["metadata"]["receipt"])
    assert (summary.problem, summary.longest) == (None, summary.receipt.max_length)
    assert str(row).endswith(
        "<|im_start|>user\nLamp 1 is green. Report it.<|im_end|>\n"
        '<|im_start|>assistant\n⟦{"lamp": 1, "colour": "green"}<|im_end|>⟧'
    )


def test_the_loss_falls(run: Run) -> None:
    """Over the whole training, the stop and the resume included; every step is told."""
    losses = {event["step"]: event["loss"] for event in run.of_type("training.log") if "loss" in event}
    assert sorted(losses) == list(range(1, STEPS + 1))
    assert losses[STEPS] < losses[1] * 0.7
    rates = [event["learningRate"] for event in run.of_type("training.log") if "loss" in event]
    assert max(rates) == 1e-3


def test_it_says_how_much_memory_it_takes(run: Run) -> None:
    """Each attempt at its first log event, and every ten seconds after it."""
    told = [event["deviceMemory"] for event in run.of_type("training.log") if "deviceMemory" in event]
    assert 0 < len(told) < STEPS
    assert all(0 < memory["used"] < memory["total"] for memory in told)


def test_a_resumed_attempt_tells_the_same_history(run: Run) -> None:
    """What it says of the steps before its checkpoint is what the first attempt said."""
    told: dict[int, set[float]] = {}
    for event in run.of_type("training.log"):
        if "loss" in event:
            told.setdefault(event["step"], set()).add(event["loss"])
    assert all(len(losses) == 1 for losses in told.values())


def test_a_resumed_attempt_tells_it_in_the_same_order(run: Run) -> None:
    """A checkpoint comes right after the log of its step: a backend that missed both stores them in this order."""
    begun = max(index for index, event in enumerate(run.events) if event["type"] == "training.started")
    assert [(event["type"], event["step"]) for event in run.events[begun + 1 :][:6]] == [
        *[("training.log", step) for step in (1, 2, 3, 4)],
        ("checkpoint.saved", 4),
        ("training.log", 5),
    ]


def test_it_evaluates_once_at_the_end(run: Run) -> None:
    """On the rows held out, and the last metrics say the result."""
    evaluations = [event for event in run.of_type("training.log") if "evalLoss" in event]
    assert [event["step"] for event in evaluations] == [STEPS]
    metrics = run.of_type("training.completed")[0]["metrics"]
    assert metrics["evalLoss"] == evaluations[0]["evalLoss"] > 0
    assert metrics["steps"] == STEPS
    assert metrics["trainLoss"] > 0


def test_checkpoints_and_the_adapter_are_there_as_told(run: Run) -> None:
    """Each tar has the size and the digest of its event; what was needed to resume is gone."""
    assert run.code == 0
    assert sorted({event["step"] for event in run.of_type("checkpoint.saved")}) == [4, 8]
    artifacts = run.of_type("training.completed")[0]["artifacts"]
    assert [(item["name"], item.get("step")) for item in artifacts] == [
        ("adapter", None),
        ("checkpoint-4", 4),
        ("checkpoint-8", 8),
    ]
    for item in artifacts:
        assert (run.folder / "artifacts" / f"{item['name']}.tar").stat().st_size == item["sizeBytes"]
    assert artifacts[0]["sha256"] == artifacts[2]["sha256"]  # saved at the same step, in the same bytes
    assert not (run.folder / "checkpoints").exists()


@pytest.fixture(scope="module")
def adapted(run: Run, model_home: Path) -> tuple[Any, Any]:
    """The base model with the trained adapter, loaded by PEFT, and its tokenizer."""
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    folder = run.folder / "unpacked"
    with (run.folder / "artifacts" / "adapter.tar").open("rb") as archive:
        unpack(archive, folder)
    path = str(model_home / ".arkor" / "models" / MODEL)
    base = transformers.AutoModelForCausalLM.from_pretrained(path, dtype="float32")
    return peft.PeftModel.from_pretrained(base, folder), transformers.AutoTokenizer.from_pretrained(path)


@pytest.mark.filterwarnings("default")  # of the libraries'
def test_peft_loads_the_adapter_and_it_changes_the_model(adapted: tuple[Any, Any]) -> None:
    """The loss on an unseen row is lower with it than without, computed here and not by the worker."""
    import torch

    model, tokenizer = adapted
    row = rows(100)[99]["messages"]
    prompt = tokenizer.apply_chat_template(row[:1], add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template(row, return_dict=False)
    ids = torch.tensor([whole])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    with torch.no_grad():
        trained = model(input_ids=ids, labels=labels).loss.item()
        with model.disable_adapter():
            before = model(input_ids=ids, labels=labels).loss.item()
    assert trained < before * 0.7


@pytest.mark.filterwarnings("default")
def test_the_masks_are_what_the_assistant_says(adapted: tuple[Any, Any]) -> None:
    """With the real tokenizer and its template: the answer and its end token, nothing else."""
    from arkor.backend.training_worker.examples.tokenize import RowEncoder

    _, tokenizer = adapted
    config = JobConfig(model=MODEL, dataset_source={"type": "dataset", "id": "0" * 64})
    [encoded] = RowEncoder(tokenizer, "chatml", config).encode(rows(1)[0])
    counted = [token for token, counts in zip(encoded.input_ids, encoded.counted, strict=True) if counts]
    assert tokenizer.decode(counted) == '{"lamp": 0, "colour": "red"}<|im_end|>'


@pytest.mark.filterwarnings("default")
def test_the_loss_is_the_one_that_trl_computes(adapted: tuple[Any, Any], tmp_path: Path) -> None:
    """The head that is computed only where the loss looks changes nothing."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from arkor.backend.training_worker.loss import CountedLossTrainer

    model, tokenizer = adapted
    ids = tokenizer("one two three four five six seven")["input_ids"]
    examples = [
        {"input_ids": ids, "labels": [-100] * 3 + ids[3:]},
        {"input_ids": ids[:5], "labels": [-100] * 4 + ids[4:5]},
    ]
    arguments = SFTConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        report_to="none",
    )
    losses = []
    for trainer_class in (SFTTrainer, CountedLossTrainer):
        trainer = trainer_class(
            model=model, args=arguments, train_dataset=Dataset.from_list(examples), processing_class=tokenizer
        )
        model.eval()
        batch = trainer.data_collator(examples)
        with torch.no_grad():
            losses.append(
                [float(trainer.compute_loss(model, dict(batch), num_items_in_batch=count)) for count in (None, 3)]
            )
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.filterwarnings("default")
def test_the_names_that_are_accepted_are_those_of_transformers() -> None:
    """Each optimizer and schedule of the static lists exists there."""
    from transformers import SchedulerType
    from transformers.training_args import OptimizerNames

    from arkor.backend.jobs import supported

    assert set(supported.OPTIMIZERS) <= {name.value for name in OptimizerNames}
    assert set(supported.SCHEDULERS) <= {name.value for name in SchedulerType}
