"""The training that tests do on one device and on several, with a model that trains in no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arkor.backend.training_worker.stopping import Position, StopSwitch
from arkor.protocol.config import JobConfig
from tests.support.attempts import UPLOADED, Events, attempt

# 13 rows in batches of 3: the last step of a pass has batches that are not full, and one device has none.
SETTINGS: dict[str, Any] = {
    "batch_size": 3,
    "eval_batch_size": 3,
    "num_train_epochs": 8,
    "eval_steps": 6,
    "save_steps": 8,
    "learning_rate": 0.02,
    "dataset_split": {"evalFraction": 0.35},
    "train_sampling_strategy": "group_by_length",
    "gradient_checkpointing": True,
}
FIGURES = ("loss", "gradNorm", "learningRate", "evalLoss", "evalMeanTokenAccuracy")
TWO: dict[str, Any] = {"devices": 2}
AS_ONE: dict[str, Any] = {"gradient_accumulation_steps": 2}
STEPS = 24


def alone(model: Path, rows: Path, folder: Path, **settings: Any) -> Events:
    """Train on one device, in this process; return what it tells."""
    from arkor.backend.training_worker.training import train

    config = JobConfig(model=str(model), dataset_source=UPLOADED, **{**SETTINGS, **settings})
    events = Events(StopSwitch())
    spec = attempt(config, folder, rows, model_root=model.parent)
    train(spec, events, StopSwitch(), Position())  # type: ignore[arg-type]
    return events
