"""Batches that the memory suffices for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.models import hardware
from arkor.backend.models.sizes import ModelSizes
from arkor.backend.processes import memory_limit
from arkor.backend.training_worker.examples.data import Data, prepare_data
from arkor.backend.training_worker.limits.lengths import Lengths
from arkor.backend.training_worker.memory import Examples, Fitted, estimator, fitted
from arkor.errors import ArkorError
from arkor.protocol.config import JobConfig
from tests.support.attempts import UPLOADED, attempt
from tests.support.characters import Tokenizer
from tests.support.tiny_model import write_tiny_model
from tests.unit.backend.models.test_sizes import LLAMA

GIB = 2**30


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that says that it has a model."""
    folder = write_tiny_model(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps(LLAMA))
    return folder


def job(**settings: Any) -> JobConfig:
    return JobConfig(model="small", dataset_source=UPLOADED, **settings)


def data_of(folder: Path, config: JobConfig, lengths: list[int]) -> Data:
    """Return examples of so many characters, of which the answer's count."""
    rows = folder / "rows.jsonl"
    texts = [{"prompt": "q" * (length // 2), "completion": "a" * (length - length // 2)} for length in lengths]
    rows.write_text("".join(json.dumps(row) + "\n" for row in texts))
    return prepare_data(attempt(config, folder, rows), Tokenizer(), Lengths())


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the memory of the machine, in bytes."""
    monkeypatch.setattr(memory_limit, "held_bytes", lambda _pid: 0)

    def set_bytes(found: int, total: int | None = None) -> None:
        monkeypatch.setattr(hardware, "available_bytes", lambda: found)
        monkeypatch.setattr(hardware, "total_bytes", lambda: found if total is None else total)

    return set_bytes


def test_the_largest_batch_is_that_of_the_longest_rows(tmp_path: Path) -> None:
    """Padded to the longest, with the most that may count; an evaluation has twice as many rows."""
    from arkor.backend.training_worker.examples.arrow_files import counted_of, lengths_of

    config = job(apply_chat_template=False)
    data = data_of(tmp_path, config, [10, 40, 20, 30])
    examples = Examples(lengths_of(data.train), counted_of(data.train))
    assert [sum(label != -100 for label in row["labels"]) for row in data.train] == list(examples.counted)
    batch = examples.largest_batch(config, 2)
    assert batch is not None
    assert (batch.rows, batch.tokens, batch.counted) == (2, max(examples.tokens), sum(sorted(examples.counted)[-2:]))
    assert batch.varies
    like = data_of(tmp_path, config, [40, 39, 40])
    alike = Examples(lengths_of(like.train), counted_of(like.train)).largest_batch(config, 2)
    assert alike is not None
    assert not alike.varies
    assert Examples(lengths_of(data.eval), counted_of(data.eval)).largest_batch(config, 2) is None


def test_a_job_that_fits_stays_as_it_is(tmp_path: Path, model: Path, available: Any) -> None:
    """Nothing is said."""
    config = job(batch_size=8, eval_batch_size=16)
    available(64 * GIB)
    assert fitted(config, data_of(tmp_path, config, [200] * 9), str(model)) == Fitted(config, is_ample=True)


def test_a_job_that_just_fits_is_tried_first(tmp_path: Path, model: Path, available: Any) -> None:
    """With its longest rows; with twice the memory that is not worth its time."""
    config = job()
    data = data_of(tmp_path, config, [200] * 9)
    sizes = ModelSizes.of_folder(model)
    assert sizes is not None
    needed = estimator(sizes, data)(config).total
    for there, is_ample in ((needed, False), (2 * needed - 2, False), (2 * needed, True)):
        available(there)
        assert fitted(config, data, str(model)) == Fitted(config, is_ample=is_ample)


def test_a_step_is_divided_until_it_fits(tmp_path: Path, model: Path, available: Any) -> None:
    """It takes as many rows as before; the batches of an evaluation become smaller to the same part."""
    config = job(batch_size=8, eval_batch_size=16, gradient_accumulation_steps=3)
    data = data_of(tmp_path, config, [2000] * 9)
    sizes = ModelSizes.of_folder(model)
    assert sizes is not None
    estimate = estimator(sizes, data)
    half = job(batch_size=2, eval_batch_size=4, gradient_accumulation_steps=12)
    available(estimate(half).total)
    found = fitted(config, data, str(model))
    assert (found.config, found.is_ample) == (half, False)
    assert found.note is not None
    assert found.note.startswith("with 8 rows in a batch the training would take about ")
    assert found.note.endswith("an optimizer step takes 12 batches of 2 rows instead, and learns the same")


def test_one_row_that_does_not_fit_fails_with_advice(tmp_path: Path, model: Path, available: Any) -> None:
    """Before the model is loaded."""
    config = job(batch_size=8)
    data = data_of(tmp_path, config, [2000] * 9)
    sizes = ModelSizes.of_folder(model)
    assert sizes is not None
    available(estimator(sizes, data)(job(batch_size=1)).total - 1)
    with pytest.raises(ArkorError, match=r"to train small: .* It would fit with gradient_checkpointing=True; or"):
        fitted(config, data, str(model))


def test_one_row_that_does_not_fit_now_is_tried(tmp_path: Path, model: Path, available: Any) -> None:
    """The memory is there, and others have it: they may give it back."""
    config = job(batch_size=2)
    data = data_of(tmp_path, config, [2000] * 9)
    available(1, 64 * GIB)
    found = fitted(config, data, str(model))
    assert found.config == job(batch_size=1, gradient_accumulation_steps=2)
    assert found.note is not None
    assert (found.is_ample, fitted(found.config, data, str(model)).note) == (False, None)


def test_a_model_that_is_not_here_yet_is_not_looked_at(tmp_path: Path, available: Any) -> None:
    """Its sizes are not known."""
    config = job()
    available(1)
    assert fitted(config, data_of(tmp_path, config, [20]), "owner/name") == Fitted(config)


def test_with_full_determinism_batches_are_not_divided(tmp_path: Path, model: Path, available: Any) -> None:
    """A note says that memory may not suffice; what can never fit is refused, with a batch that would."""
    config = job(batch_size=8, full_determinism=True)
    data = data_of(tmp_path, config, [2000] * 9)
    sizes = ModelSizes.of_folder(model)
    assert sizes is not None
    estimate = estimator(sizes, data)
    available(estimate(config).total)
    assert fitted(config, data, str(model)) == Fitted(config)
    available(estimate(config).total - 1, 64 * GIB)
    found = fitted(config, data, str(model))
    assert (found.config, found.is_ample) == (config, False)
    assert found.note is not None
    assert found.note.startswith("with 8 rows in a batch the training would take about ")
    assert found.note.endswith("full_determinism keeps the batches as they are, so the job fails if memory runs out")
    available(estimate(job(batch_size=2, gradient_accumulation_steps=4)).total)
    with pytest.raises(ArkorError, match=r"for a batch of 8 rows\).*fit with batch_size=2 and gradient_accumulation_s"):
        fitted(config, data, str(model))
