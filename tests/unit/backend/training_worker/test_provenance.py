"""What an archive says of its making: all settings, no secret, and the same bytes for the same training."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arkor.backend.models.origin import ModelOrigin
from arkor.backend.training_worker.examples.data import prepare_data
from arkor.backend.training_worker.limits.device import Device
from arkor.backend.training_worker.limits.lengths import Lengths
from arkor.backend.training_worker.provenance import Provenance, provenance_of
from arkor.protocol.config import SETTINGS, JobConfig
from arkor.protocol.wire import wire_name
from tests.support.attempts import UPLOADED, attempt
from tests.support.characters import Tokenizer

BASE = ModelOrigin("owner/base", None, {"name": "owner/base"})
# These have no value if nobody sets them; the others of the table are the model and the sources of rows.
WITHOUT_DEFAULT = {
    *("dataset_split", "save_steps", "eval_steps", "neftune_noise_alpha", "layers_to_transform"),
    *("early_stopping_patience", "modules_to_save"),
    "save_total_limit",
}
APART = {
    "model",
    "base_adapter",
    "dataset_source",
    "eval_dataset_source",
    "evaluation",
    "sample_prompts",
    "sample_budget",
}


def made_by(folder: Path, *, template: Any = None, threads: int = 1, **settings: Any) -> Provenance:
    """Return the provenance of a job on ten rows of text."""
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(10)))
    spec = attempt(JobConfig(model="/home/me/base", dataset_source=UPLOADED, **settings), folder, rows, threads=threads)
    data, tokenizer = prepare_data(spec, Tokenizer(), Lengths()), SimpleNamespace(chat_template=template)
    return provenance_of(spec, BASE, tokenizer, Device("cpu", "float32"), data, rows=UPLOADED)


def test_every_setting_is_recorded(tmp_path: Path) -> None:
    """With what the backend chose, where nobody did; the model and the rows have fields of their own."""
    settings = made_by(tmp_path).record.settings
    assert set(settings) == set(map(wire_name, SETTINGS.keys() - APART - WITHOUT_DEFAULT))
    chosen = {name: settings[name] for name in ("maxSteps", "datasetFormat", "excessLength", "trainOnResponsesOnly")}
    assert chosen == {
        "maxSteps": 3,  # an epoch in batches of four
        "datasetFormat": {"type": "text"},
        "excessLength": "drop",
        "trainOnResponsesOnly": False,
    }
    given: dict[str, Any] = {"max_length": 9, "save_steps": 2, "seed": 0, "dataset_split": {"evalFraction": 0.2}}
    settings = made_by(tmp_path, **given).record.settings
    assert {name: settings[wire_name(name)] for name in given} == given
    assert settings["excessLength"] == "truncate"


@pytest.mark.parametrize(
    ("template", "text"), [(None, None), ("{{ x }}", "{{ x }}"), ({"b": "2", "a": "1"}, '{"a": "1", "b": "2"}')]
)
def test_the_chat_template_is_known_by_its_hash(template: Any, text: str | None, tmp_path: Path) -> None:
    """A model may have none, or several by name."""
    expected = None if text is None else hashlib.sha256(text.encode()).hexdigest()
    assert made_by(tmp_path, template=template).record.chat_template_sha256 == expected


def test_the_same_training_gives_the_same_bytes(tmp_path: Path) -> None:
    """In whatever folder, on however many threads; another setting gives others."""
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    first, second = made_by(folders[0]), made_by(folders[1], threads=7)
    assert first.file() == second.file() != made_by(folders[2], seed=7).file()
    assert (first.record.threads, second.record.threads) == (1, 7)
    assert str(tmp_path).encode() not in first.file()
    assert b"/home/me" not in first.file()


def test_with_full_determinism_the_archive_says_the_threads(tmp_path: Path) -> None:
    """On other threads the adapter has other bytes."""
    file = json.loads(made_by(tmp_path, threads=7, full_determinism=True).file())
    assert (file["threads"], file["settings"]["fullDeterminism"]) == (7, True)
    assert "threads" not in json.loads(made_by(tmp_path, threads=7).file())
