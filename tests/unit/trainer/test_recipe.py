"""Steps, batch size and learning rate by the number of rows and the model's size."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from arkor import ConfigError, Trainer, recipe_for
from arkor.trainer.recipe import model_parameters
from tests.support.tiny_model import write_tiny_model

SMALL, LARGE = "smollm2-135m", "Qwen/Qwen3-8B"
HELD_OUT = {"eval_fraction": 0.1, "seed": 42}


@pytest.mark.parametrize(
    ("rows", "steps", "batch", "passes"),
    [(1, 2, 4, 10), (10, 25, 4, 10), (60, 135, 4, 10), (400, 150, 4, 1.7), (5000, 562, 8, 1), (100_000, 1000, 8, 0.1)],
)
def test_fewer_rows_are_passed_more_often(rows: int, steps: int, batch: int, passes: float) -> None:
    """At most 10 times, in at most 1,000 steps."""
    recipe = recipe_for(rows, SMALL)
    assert (recipe["max_steps"], recipe["batch_size"]) == (steps, batch)
    trained = rows * (0.9 if rows >= 20 else 1)
    assert steps * batch / trained == pytest.approx(passes, rel=0.25) or rows == 1


def test_a_tenth_is_held_out_of_20_rows_or_more() -> None:
    """And evaluated four times; fewer rows are all trained on."""
    recipe = recipe_for(60, SMALL)
    assert (recipe["dataset_split"], recipe["eval_steps"]) == (HELD_OUT, 33)
    assert "dataset_split" not in recipe_for(19, SMALL)
    assert "eval_steps" not in recipe_for(60, SMALL, eval_fraction=0)


def test_a_small_model_gets_a_high_rate() -> None:
    """A larger one, and one of an unknown size, get the backend's own."""
    assert recipe_for(60, SMALL)["learning_rate"] == 1e-3
    assert "learning_rate" not in recipe_for(60, LARGE)
    assert "learning_rate" not in recipe_for(60, "owner/name")


def test_given_values_take_precedence() -> None:
    """Each on its own; the steps follow from epochs and batch size."""
    assert recipe_for(60, SMALL, max_steps=7)["max_steps"] == 7
    assert recipe_for(60, SMALL, num_train_epochs=2)["max_steps"] == 27
    assert recipe_for(60, SMALL, num_train_epochs=2, batch_size=9)["max_steps"] == 12
    assert recipe_for(60, LARGE, learning_rate=1e-5)["learning_rate"] == 1e-5
    assert recipe_for(10, SMALL, eval_fraction=0.5)["dataset_split"]["eval_fraction"] == 0.5


@pytest.mark.parametrize(
    ("given_values", "says"),
    [
        ({"rows": 0}, "rows: must be a whole number, 1 to 1000000000, not 0"),
        ({"max_steps": 0}, "max_steps: must be a whole number"),
        ({"batch_size": 0}, "batch_size: must be a whole number"),
        ({"num_train_epochs": 0}, "num_train_epochs: must be a number above 0"),
        ({"learning_rate": -1}, "learning_rate: must be a number above 0"),
        ({"eval_fraction": 1}, "eval_fraction: must be a number of at least 0, below 1, not 1"),
    ],
)
def test_values_out_of_their_range_are_refused(given_values: dict[str, Any], says: str) -> None:
    """In the words of a trainer."""
    with pytest.raises(ConfigError, match=says):
        recipe_for(**{"rows": 60, "model": SMALL, **given_values})


@given(
    rows=st.integers(1, 10**7),
    epochs=st.none() | st.floats(0.01, 100),
    fraction=st.none() | st.floats(0, 0.99),
    batch=st.none() | st.integers(1, 10**5),
)
def test_every_recipe_is_one_that_a_trainer_takes(
    rows: int, epochs: float | None, fraction: float | None, batch: int | None
) -> None:
    """Within the ranges of its settings."""
    recipe = recipe_for(rows, SMALL, num_train_epochs=epochs, eval_fraction=fraction, batch_size=batch)
    assert 0 <= recipe["warmup_steps"] < recipe["max_steps"]
    Trainer(name="rows", model=SMALL, dataset="rows.csv", **recipe)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("smollm2-135m", 135_000_000),
        ("HuggingFaceTB/SmolLM2-360M-Instruct", 360_000_000),
        ("Qwen/Qwen2.5-0.5B", 500_000_000),
        ("Qwen/Qwen3-30B-A3B", 30_000_000_000),
        ("7b-models/gpt2", None),
        ("gpt2", None),
    ],
)
def test_a_name_says_how_large_a_model_is(model: str, parameters: int | None) -> None:
    """With m or b after the number; the owner's name does not count."""
    assert model_parameters(model) == parameters


def test_a_folder_says_it_with_its_weights(tmp_path: Path) -> None:
    """All files of it together; metadata are no weights."""
    folder = write_tiny_model(tmp_path / "model")
    more: dict[str, Any] = {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [3, 4]}}
    header = json.dumps(more).encode()
    (folder / "more.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert model_parameters(str(folder)) == 14


@pytest.mark.parametrize("content", [b"", b"short", struct.pack("<Q", 4) + b"null", struct.pack("<Q", 2**63) + b"{"])
def test_weights_that_cannot_be_read_say_nothing(tmp_path: Path, content: bytes) -> None:
    """Then the backend decides."""
    (tmp_path / "model.safetensors").write_bytes(content)
    assert model_parameters(str(tmp_path)) is None
