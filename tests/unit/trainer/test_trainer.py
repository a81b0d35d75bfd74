"""A trainer's own settings, checked before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from arkor import HuggingFaceDataset, Trainer
from arkor.errors import ConfigError

ROWS = HuggingFaceDataset("owner/rows")


def test_a_name_of_a_job_has_200_characters_at_most() -> None:
    """As the backend has it."""
    assert Trainer(name="é" * 200, model="m", dataset=ROWS).name == "é" * 200


@pytest.mark.parametrize("name", ["", " ", 3, None, "x" * 201, "a\ud83d", [10**5000]])
def test_a_name_that_no_job_can_have_is_refused(name: Any) -> None:
    """By the setting's name; the value is shown where there is a text for it."""
    with pytest.raises(ConfigError, match="must be a text of 1 to 200 characters") as raised:
        Trainer(name=name, model="m", dataset=ROWS)
    assert raised.value.field == "name"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"eval_dataset": {"type": "huggingface", "name": "imdb"}}, "its full name is stanfordnlp/imdb"),
        ({"eval_dataset": [{"text": "a"}]}, "must be a data set, a path, or a mapping with a type"),
        ({"eval_dataset": ROWS, "dataset_split": {"eval_fraction": 0.1}}, "cannot be combined with dataset_split"),
    ],
)
def test_held_out_rows_that_cannot_be_are_refused_by_name(settings: dict[str, Any], says: str) -> None:
    """As the keyword, not as the data set to train on."""
    with pytest.raises(ConfigError, match=says) as raised:
        Trainer(name="n", model="m", dataset=ROWS, **settings)
    assert raised.value.field == "eval_dataset"
