"""Steps, batch size and learning rate for a file of rows, for those who have no figures of their own yet.

``bench/recipes.py`` measured them; docs/training.md, "Steps, batch size and learning rate", has the results.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import struct
from pathlib import Path
from typing import Any, TypedDict

from arkor.data.split import split_rows
from arkor.errors import ConfigError
from arkor.protocol.checks import Check, whole
from arkor.protocol.config import SETTINGS, SMALL_MODEL
from arkor.text import short_repr

EVAL_FRACTION = 0.1
FEWEST_ROWS_TO_SPLIT = 20  # below, one or two held-out rows say nothing, and each row counts
SEED = 42
MOST_EPOCHS = 10.0
ROWS_TO_SEE = 600  # in all epochs together, if MOST_EPOCHS allow it
MOST_STEPS = 1000
BATCH_SIZE, LARGE_BATCH_SIZE = 4, 8
MANY_ROWS = 1000
RATE_OF_SMALL_MODELS = 1e-3
EVALUATIONS = 4
STEPS_OF_A_WARMUP_STEP = 20

_CHECKS = {
    "rows": whole(1, 10**9),
    "eval_fraction": Check(
        lambda value: isinstance(value, (int, float)) and 0 <= value < 1, "a number of at least 0, below 1"
    ),
}
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)
_UNITS = {"m": 10**6, "b": 10**9}
_MOST_HEADER_BYTES = 100 * 2**20  # as safetensors itself reads at most


class Recipe(TypedDict, total=False):
    """Keywords of ``Trainer``; a keyword that is absent is left to the backend.

    Attributes:
        max_steps: optimizer steps, at least 1.
        batch_size: rows in a batch, at least 1.
        learning_rate: peak step size, dimensionless.
        warmup_steps: steps until the peak.
        eval_steps: steps between two evaluations.
        dataset_split: which rows are held out.
    """

    max_steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    eval_steps: int
    dataset_split: dict[str, Any]


def recipe_for(
    rows: int,
    model: str,
    *,
    max_steps: int | None = None,
    num_train_epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    eval_fraction: float | None = None,
) -> Recipe:
    """Choose the settings that a file of rows is trained with.

    Args:
        rows: how many rows there are, 1 to 1e9, those to hold out included.
        model: as for ``Trainer``; its size decides the learning rate, see ``model_parameters``.
        max_steps: optimizer steps, 1 to 1e9; wins over ``num_train_epochs``.
        num_train_epochs: passes over the rows that are trained on, above 0, at most 1e6. By default 1 to 10, more for
            fewer rows, in at most 1,000 steps.
        batch_size: rows in a step, 1 to 1e6. By default 4, from 1,000 rows on 8.
        learning_rate: peak step size, above 0, at most 1e6. By default 1e-3 for models of at most 400 million
            parameters; for others the backend decides.
        eval_fraction: the share of the rows to hold out, 0 to below 1. By default 0.1, of fewer than 20 rows 0.

    Returns:
        Keywords of ``Trainer``.

    Raises:
        ConfigError: a value is out of its range.

    Example:
        ``Trainer(name="faq", model="smollm2-135m", dataset="faq.csv", **recipe_for(60, "smollm2-135m"))``
    """
    _check(
        rows=rows,
        max_steps=max_steps,
        num_train_epochs=num_train_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        eval_fraction=eval_fraction,
    )
    if eval_fraction is None:
        eval_fraction = EVAL_FRACTION if rows >= FEWEST_ROWS_TO_SPLIT else 0.0
    trained = rows if not eval_fraction or rows == 1 else len(split_rows(rows, eval_fraction, None)[0])
    batch = batch_size or (BATCH_SIZE if trained < MANY_ROWS else LARGE_BATCH_SIZE)
    steps = max_steps or _steps(trained, batch, num_train_epochs)
    recipe = Recipe(max_steps=steps, batch_size=batch)
    rate = learning_rate or _rate(model)
    if rate is not None:
        recipe["learning_rate"] = rate
    recipe["warmup_steps"] = steps // STEPS_OF_A_WARMUP_STEP
    if eval_fraction:
        recipe["eval_steps"] = max(1, steps // EVALUATIONS)
        recipe["dataset_split"] = {"eval_fraction": eval_fraction, "seed": SEED}
    return recipe


def model_parameters(model: str) -> int | None:
    """Return how many parameters a model has, or None if that is not known on this machine.

    Args:
        model: as for ``Trainer``: its name may say it (``smollm2-135m``, ``Qwen/Qwen3-0.6B``); so do the weights in a
            folder of this machine.

    Example:
        ``model_parameters("smollm2-135m")`` is 135,000,000.
    """
    size = _SIZE.search(Path(model).name)
    if size is not None:
        return round(float(size[1]) * _UNITS[size[2].lower()])
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return sum(map(_parameters_in, Path(model).expanduser().glob("*.safetensors"))) or None
    return None


def _parameters_in(weights: Path) -> int:
    """Return how many numbers a file of weights has, by its header."""
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(min(length, _MOST_HEADER_BYTES)))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _check(**values: float | None) -> None:
    for name, value in values.items():
        check = _CHECKS.get(name) or SETTINGS[name].check
        if value is not None and not check.accepts(value):
            raise ConfigError(name, f"must be {check.words}, not {short_repr(value)}")


def _steps(trained: int, batch: int, epochs: float | None) -> int:
    if epochs is not None:
        return max(1, round(trained * epochs / batch))
    chosen = min(MOST_EPOCHS, max(1.0, ROWS_TO_SEE / trained))
    return min(MOST_STEPS, max(1, round(trained * chosen / batch)))


def _rate(model: str) -> float | None:
    parameters = model_parameters(model)
    return RATE_OF_SMALL_MODELS if parameters is not None and parameters <= SMALL_MODEL else None
