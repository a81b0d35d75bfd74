"""Every setting of the table changes something in the trainer that is built: none is accepted and then ignored."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest

import arkor
from arkor.errors import DatasetError
from arkor.protocol.config import SETTINGS, JobConfig
from tests.support.attempts import UPLOADED, attempt

pytestmark = [
    pytest.mark.training,
    # transformers 5.23 has a new name for it, which the oldest version that this backend takes does not know.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*deprecated:FutureWarning"),
]

BASE: dict[str, Any] = {
    "dataset_split": {"evalFraction": 0.2},
    "eval_steps": 3,
    "save_steps": 5,
    "excess_length": "drop",
    "allow_dropped_fields": ["reasoning_content"],
}
LORA = [field.name for field in attrs.fields(arkor.LoraConfig)]
CONTEXT_TOKENS = 24  # two rows are longer
# A value for each setting, other than its default and than that of BASE.
OTHERS: dict[str, Any] = {
    "dataset_format": {"type": "text"},
    "dataset_split": {"evalFraction": 0.4},
    "max_steps": 5,
    "num_train_epochs": 2.0,
    "learning_rate": 0.5,
    "batch_size": 3,
    "gradient_accumulation_steps": 2,
    "devices": 2,
    "eval_batch_size": 5,
    "optim": "sgd",
    "lr_scheduler_type": "cosine",
    "weight_decay": 0.1,
    "max_grad_norm": 0.3,
    "warmup_steps": 2,
    "neftune_noise_alpha": 5.0,
    "train_sampling_strategy": "group_by_length",
    "dtype": "bfloat16",
    "gradient_checkpointing": True,
    "logging_steps": 2,
    "save_steps": 4,
    "save_total_limit": 2,
    "eval_steps": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "mean_token_accuracy",
    "greater_is_better": True,
    "early_stopping_patience": 2,
    "early_stopping_threshold": 0.1,
    "train_on_responses_only": False,
    "seed": 7,
    "data_seed": 8,
    "full_determinism": True,
    "lora_r": 2,
    "lora_alpha": 3,
    "lora_target_modules": ["q_proj", "up_proj"],
    "lora_dropout": 0.1,
    "use_rslora": True,
    "use_dora": True,
    "init_lora_weights": "gaussian",
    "modules_to_save": ["lm_head"],
    "layers_to_transform": [0],  # the model has one: see test_linear_layers.py
    "max_length": 25,
    "excess_length": "truncate",
    "apply_chat_template": False,
    "chat_template_kwargs": {"twice": True},
    "escape_special_tokens": True,
    "allow_dropped_fields": [],
    "load_in_4bit": True,
    "dry_run": True,
}


@pytest.fixture(scope="module")
def rows(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows: one has a thought that the model's chat template leaves out, one a special token in its text."""
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    lines[3]["messages"][1]["thinking"] = "say"
    lines[4]["messages"][0]["content"] += " </s>"
    file = tmp_path_factory.mktemp("thoughts") / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


Build = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def built(model_folder: Path, rows: Path) -> Build:
    """Build a trainer with settings, as the worker does, and return all that they can change in it and around it."""
    known: dict[str, dict[str, Any]] = {}

    def build(**settings: Any) -> dict[str, Any]:
        key = json.dumps(settings)
        if key not in known:
            known[key] = _built(model_folder, rows, settings)
        return known[key]

    return build


def _built(model_folder: Path, rows: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM

    from arkor.backend.training_worker import model
    from arkor.backend.training_worker.best import Best, Rule
    from arkor.backend.training_worker.examples.data import prepare_data
    from arkor.backend.training_worker.limits.device import Device
    from arkor.backend.training_worker.limits.lengths import Lengths
    from arkor.backend.training_worker.progress import Progress
    from arkor.backend.training_worker.samples import Sampling
    from arkor.backend.training_worker.team import Team

    config = JobConfig(model=str(model_folder), dataset_source=UPLOADED, **{**BASE, **settings})
    spec = attempt(JobConfig.from_wire(config.to_wire()), rows.parent, rows, eval_dataset_path=rows)
    loaded: dict[str, Any] = {}
    load = AutoModelForCausalLM.from_pretrained

    def from_pretrained(path: str, **how: Any) -> Any:
        loaded.update(how)
        kept = {name: value for name, value in how.items() if name not in {"quantization_config", "device_map"}}
        return load(path, **kept)  # four bits need a CUDA device; what was asked for is recorded above

    tokenizer = model.load_tokenizer(str(model_folder))
    try:
        data = prepare_data(spec, tokenizer, Lengths(context=CONTEXT_TOKENS))
    except DatasetError as exc:
        return {"refused": str(exc)}
    with mock.patch.dict(os.environ), pytest.MonkeyPatch.context() as patches:
        patches.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
        trainer = model.build_trainer(spec, Device("cpu", "float32"), str(model_folder), tokenizer, data)
    torch.use_deterministic_algorithms(False)  # what full_determinism has set is the process's, and stays otherwise
    best = Best(Rule.of(config), spec.files)
    progress = Progress(spec, None, None, None, None, best=best, sampling=Sampling(config, Team()))  # type: ignore[arg-type]
    weights = {name: value.sum().item() for name, value in trainer.model.named_parameters() if "lora_A" in name}
    return {
        "arguments": trainer.args.to_dict(),
        "adapter": trainer.model.peft_config["default"].to_dict(),
        "weights": weights,
        "loaded": {name: str(value) for name, value in loaded.items()},
        "rows": [[(row["input_ids"], row["labels"]) for row in part] for part in (data.train, data.eval)],
        "best": attrs.asdict(Rule.of(config)),
        "kept": _kept_by(progress, spec.artifacts_dir),
    }


def _kept_by(progress: Any, folder: Path) -> list[str]:
    """Return the checkpoints that there are after twenty steps."""
    folder.mkdir(exist_ok=True)
    for step in range(1, 21):
        if progress._is_for_user(step):
            (folder / f"checkpoint-{step}.tar").touch()
    progress.limit_checkpoints()
    kept = sorted(tar.name for tar in folder.iterdir())
    shutil.rmtree(folder)
    return kept


def test_every_setting_is_tried_here() -> None:
    """A new setting needs another value than its default."""
    assert set(OTHERS) == set(SETTINGS) - {
        *("model", "base_adapter", "dataset_source", "eval_dataset_source", "evaluation"),
        *("sample_prompts", "sample_budget"),  # see test_samples.py
    }
    assert [name for name, value in OTHERS.items() if value == SETTINGS[name].value] == []


def test_the_same_settings_build_the_same_trainer(built: Build) -> None:
    """What the check below compares does not differ by itself."""
    assert built() == built(dry_run=False)


@pytest.mark.parametrize("name", OTHERS)
def test_a_setting_changes_the_trainer(built: Build, name: str) -> None:
    """Its arguments, its adapter, its rows, how its model is loaded, or which checkpoints it keeps."""
    assert built(**{name: OTHERS[name]}) != built()


def test_held_out_rows_of_their_own_change_the_trainer(built: Build) -> None:
    """All of them are evaluated, and no row is taken from those to train on."""
    source = {"type": "dataset", "id": "0" * 64}
    train, held_out = built(dataset_split=None, eval_dataset_source=source)["rows"]
    assert sorted(train) == sorted(held_out)
    assert len(train) > len(built()["rows"][0])


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.argument])
def test_a_setting_with_an_argument_is_that_argument(built: Build, name: str) -> None:
    """As given, and as the table's default if it was not given."""
    owner, argument = SETTINGS[name].argument.split(".")
    part = {"SFTConfig": "arguments", "LoraConfig": "adapter"}[owner]
    assert built()[part][argument] == SETTINGS[name].value
    assert built(**{name: OTHERS[name]})[part][argument] == OTHERS[name]


def test_the_trainer_has_a_keyword_for_every_setting() -> None:
    """Under the same name; the settings of the adapter are those of ``LoraConfig``."""
    keywords = set(inspect.signature(arkor.Trainer).parameters)
    shape = {
        *("lora_r", "lora_alpha", "lora_target_modules", "lora_dropout", "use_rslora", "use_dora"),
        *("init_lora_weights", "layers_to_transform", "modules_to_save", "max_length", "load_in_4bit"),
    }
    renamed = {"dataset_source": "dataset", "eval_dataset_source": "eval_dataset"}
    assert {renamed.get(name, name) for name in set(SETTINGS) - shape} <= keywords
    assert set(arkor.LoraConfig().to_settings()) == shape
    documented = inspect.getdoc(arkor.Trainer) or ""
    assert [name for name in sorted(keywords) if f"    {name}:" not in documented] == []


@pytest.mark.parametrize("documented", [arkor.Trainer, arkor.LoraConfig])
def test_each_docstring_names_the_default(documented: type[object]) -> None:
    """Of all settings but those that are required."""
    text = re.split(r"\n\S", (inspect.getdoc(documented) or "").partition("Args:\n")[2])[0]
    lines = dict(re.findall(r"^    (\w+): (.*(?:\n     .*)*)", text, re.MULTILINE))
    settings = inspect.signature(documented).parameters.keys() & (SETTINGS.keys() | {"lora", "eval_dataset", *LORA})
    assert [name for name in settings - {"model"} if "default" not in lines[name]] == []
