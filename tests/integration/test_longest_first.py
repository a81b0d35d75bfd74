"""The longest rows are tried before the first step, and nobody can tell afterwards."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor.protocol.config import JobConfig
from tests.support.attempts import UPLOADED, attempt

pytestmark = [
    pytest.mark.training,
    # transformers 5.23 has a new name for it, which the oldest version that this backend takes does not know.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*deprecated:FutureWarning"),
]

Make = Callable[[], Any]


@pytest.fixture
def make(model_folder: Path, tmp_path: Path) -> Make:
    """Make the trainer of a job of 12 rows, which takes two a step."""
    from arkor.backend.training_worker import model
    from arkor.backend.training_worker.examples.data import prepare_data
    from arkor.backend.training_worker.limits.device import Device
    from arkor.backend.training_worker.limits.lengths import Lengths

    lengths = [2, 9, 3, 4, 12, 2, 3, 5, 2, 3, 4, 2]
    texts = [" ".join(["say"] * length) for length in lengths]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    settings: dict[str, Any] = {"batch_size": 2, "max_steps": 4, "learning_rate": 0.1}
    config = JobConfig(model=str(model_folder), dataset_source=UPLOADED, **settings)
    spec = attempt(config, tmp_path, tmp_path / "rows.jsonl")

    def made() -> Any:
        tokenizer = model.load_tokenizer(str(model_folder))
        data = prepare_data(spec, tokenizer, Lengths())
        return model.build_trainer(spec, Device("cpu", "float32"), str(model_folder), tokenizer, data)

    return made


def losses(trainer: Any) -> list[tuple[float, float]]:
    """Train, and return the loss and the gradient's norm of each step."""
    random.seed(5)
    trainer.train()
    return [(entry["loss"], entry["grad_norm"]) for entry in trainer.state.log_history if "loss" in entry]


def test_the_losses_are_those_without_it(make: Make) -> None:
    """To the last figure; and so is what comes of the dice of Python."""
    from arkor.backend.training_worker.longest_first import LongestFirst

    found = []
    for tries in (False, True):
        trainer = make()
        if tries:
            trainer.add_callback(LongestFirst(trainer))
        found.append((losses(trainer), random.random(), trainer._total_train_tokens))
    assert found[0] == found[1]
    assert len(found[0][0]) == 4


def test_a_lack_of_memory_shows_before_the_first_step(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the two longest rows, whichever step has them."""
    import torch

    from arkor.backend.training_worker.longest_first import LongestFirst

    trainer, tried = make(), list[Any]()

    def short_of_memory(_model: Any, inputs: dict[str, Any], **_: Any) -> Any:
        tried.append(inputs["attention_mask"].sum(dim=1).tolist())
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer, "compute_loss", short_of_memory)
    trainer.add_callback(LongestFirst(trainer))
    with pytest.raises(torch.OutOfMemoryError):
        trainer.train()
    every = sorted((len(row["input_ids"]) for row in trainer.train_dataset), reverse=True)
    assert (tried, trainer.state.global_step) == ([every[:2]], 0)


def test_a_training_of_one_batch_or_one_that_resumes_tries_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first step has the longest rows, or an earlier attempt had them."""
    from arkor.backend.training_worker.longest_first import LongestFirst

    trainer, tried = make(), list[Any]()
    first = LongestFirst(trainer)
    monkeypatch.setattr(first, "_pass", tried.append)
    first.on_train_begin(trainer.args, trainer.state, None)
    assert len(tried) == 1
    trainer.state.global_step = 1
    first.on_train_begin(trainer.args, trainer.state, None)
    trainer.state.global_step = 0
    trainer.train_dataset = trainer.train_dataset.select(range(2))
    first.on_train_begin(trainer.args, trainer.state, None)
    assert len(tried) == 1
