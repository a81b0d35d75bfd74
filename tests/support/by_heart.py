"""A backend whose processes are all real, and rows that a very small model learns by heart."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.backend import BackendProcess
from tests.support.small_model import write_small_model


def real_backend(folder: Path) -> BackendProcess:
    """Return a backend with no scripted process; its chat process leaves as soon as nobody asks."""
    modules = {name: name for name in ("evaluation", "export", "import")} | {"worker": "training", "chat": "inference"}
    real: dict[str, Any] = {name: f"arkor.backend.{kind}_worker" for name, kind in modules.items()}
    return BackendProcess(folder, **real, chat_idle=0.2, no_check_served=True).start()


def write_sure_model(folder: Path) -> Path:
    """Write a very small model that finds some tokens much likelier than others, and return its folder."""
    from safetensors.torch import load_file, save_file

    file = write_small_model(folder) / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"] *= 50
    save_file(weights, file, {"format": "pt"})
    return folder


def line(number: int) -> dict[str, Any]:
    """Return a row that asks for a word, which is followed by the same three."""
    said = f"w{number} w1 w2 w3"
    return {"messages": [{"role": "user", "content": f"say w{number}"}, {"role": "assistant", "content": said}]}


def write_lines(file: Path, numbers: Iterable[int]) -> Path:
    """Write such rows, and return their file."""
    file.write_text("".join(json.dumps(line(number)) + "\n" for number in numbers))
    return file


SETTINGS: dict[str, Any] = {
    "dataset_split": {"eval_fraction": 0.2},
    "learning_rate": 3e-2,
    "num_train_epochs": 12,
    "lora": {"r": 8, "alpha": 16},
}
