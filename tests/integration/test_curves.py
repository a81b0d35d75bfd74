"""The losses of whole trainings, beside those of TRL alone and of other ways to divide a step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.training_worker.stopping import Position, StopSwitch
from arkor.protocol.config import JobConfig
from tests.support.attempts import UPLOADED, Events, attempt

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

STEPS = 12


@pytest.fixture
def curve(model_folder: Path, rows: Path, tmp_path: Path) -> Callable[..., dict[int, float]]:
    """Train, and return the loss of each step."""
    from arkor.backend.training_worker.training import train

    def trained(**settings: Any) -> dict[int, float]:
        folder = tmp_path / f"job-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        config = JobConfig(model=str(model_folder), dataset_source=UPLOADED, **{"max_steps": STEPS, **settings})
        spec = attempt(config, folder, rows, model_root=model_folder.parent)
        events = Events(StopSwitch())
        train(spec, events, StopSwitch(), Position())  # type: ignore[arg-type]
        return events.figures("loss")

    return trained


@pytest.mark.parametrize(
    ("ours", "of_trainer", "of_adapter"),
    [
        ({"learning_rate": 0.02}, {"learning_rate": 0.02}, {}),
        (
            {"learning_rate": 0.02, "gradient_accumulation_steps": 3, "max_grad_norm": 0.05, "weight_decay": 0.1},
            {"learning_rate": 0.02, "gradient_accumulation_steps": 3, "max_grad_norm": 0.05, "weight_decay": 0.1},
            {},
        ),
        (
            {"learning_rate": 2.0, "optim": "sgd", "lr_scheduler_type": "cosine", "warmup_steps": 0.25},
            {"learning_rate": 2.0, "optim": "sgd", "lr_scheduler_type": "cosine", "warmup_steps": 0.25},
            {},
        ),
        (
            {"learning_rate": 0.02, "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.2, "use_rslora": True}
            | {"lora_target_modules": ["q_proj", "v_proj"], "seed": 7},
            {"learning_rate": 0.02, "seed": 7},
            {"r": 4, "lora_alpha": 8, "lora_dropout": 0.2, "use_rslora": True, "target_modules": ["q_proj", "v_proj"]},
        ),
        (
            {"learning_rate": 0.02, "lora_target_modules": ["o_proj"], "modules_to_save": ["lm_head"]},
            {"learning_rate": 0.02},
            {"target_modules": ["o_proj"], "modules_to_save": ["lm_head"]},
        ),
        (
            {"learning_rate": 0.02, "neftune_noise_alpha": 5.0, "data_seed": 3, "batch_size": 5}
            | {"gradient_checkpointing": True},
            {"learning_rate": 0.02, "neftune_noise_alpha": 5.0, "data_seed": 3, "per_device_train_batch_size": 5}
            | {"gradient_checkpointing": True},
            {},
        ),
    ],
    ids=["usual", "accumulated", "sgd", "small adapter", "whole modules", "noise"],
)
def test_a_curve_is_that_of_trl_alone(
    curve: Callable[..., dict[int, float]],
    model_folder: Path,
    rows: Path,
    tmp_path: Path,
    ours: dict[str, Any],
    of_trainer: dict[str, Any],
    of_adapter: dict[str, Any],
) -> None:
    """With the same rows, seed and settings; TRL renders and tokenises the rows itself.

    But for ``group_by_length``, whose order TRL draws anew when a training goes on; see ``OrderOfEpoch``.
    """
    bare = _bare_curve(model_folder, rows, tmp_path / "bare", of_trainer, of_adapter)
    found = curve(**ours)
    assert len(found) == STEPS
    assert found == pytest.approx(bare, abs=1e-5)
    assert max(found.values()) - min(found.values()) > 0.01  # it learns, and the settings count


def _bare_curve(
    model_folder: Path, rows: Path, folder: Path, of_trainer: dict[str, Any], of_adapter: dict[str, Any]
) -> dict[int, float]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import SFTConfig, SFTTrainer

    conversations = [json.loads(line)["messages"] for line in rows.read_text().splitlines()]
    data = Dataset.from_list([{"prompt": turns[:-1], "completion": turns[-1:]} for turns in conversations])
    usual: dict[str, Any] = {"learning_rate": 2e-4, "per_device_train_batch_size": 4, "gradient_checkpointing": False}
    arguments = SFTConfig(
        output_dir=str(folder),
        max_steps=STEPS,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        **{**usual, **of_trainer},
    )
    torch.set_num_threads(1)  # as many as an attempt of the tests has: others add numbers in another order
    set_seed(arguments.seed)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_folder),
        args=arguments,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(model_folder),
        peft_config=LoraConfig(
            **{"r": 16, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **of_adapter}
        ),
    )
    trainer.train()
    return {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}


def test_a_step_may_be_divided_in_any_way(curve: Callable[..., dict[int, float]]) -> None:
    """Eight rows in one batch, in two, or in eight: the losses are the same but for rounding."""
    usual = {"learning_rate": 0.02}
    whole = curve(batch_size=8, **usual)
    for size, count in ((4, 2), (1, 8)):
        divided = curve(batch_size=size, gradient_accumulation_steps=count, **usual)
        assert divided == pytest.approx(whole, abs=1e-4)
