"""Reports of a real training: rows that leaked are named, and the adapter that answers is the one that was trained.

The model is real and very small; its process, the trainer and the process that makes reports are real.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from arkor import EvaluationReport, Trainer, TrainingResult
from tests.support.backend import BackendProcess
from tests.support.by_heart import SETTINGS, real_backend, write_lines, write_sure_model
from tests.support.eventually import eventually

pytestmark = [pytest.mark.slow, pytest.mark.training, pytest.mark.timeout(400)]

WORDS = 30
LEAKED = 24  # this held-out line is also one to train on


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A backend whose processes are real."""
    backend = real_backend(tmp_path_factory.mktemp("reports"))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def trained(backend: BackendProcess, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A job that learnt 24 lines by heart, and held out 6."""
    folder = tmp_path_factory.mktemp("rows")
    numbers = [*range(WORDS)]
    numbers[LEAKED] = 3
    trainer = Trainer(
        name="words",
        model=str(write_sure_model(folder / "model")),
        dataset=write_lines(folder / "rows.jsonl", numbers),
        backend=backend.url,
        project_dir=folder,
        eval_steps=36,
        metric_for_best_model="chrf",
        load_best_model_at_end=True,
        **SETTINGS,
    )
    return trainer.wait(timeout=300, check=True)


@pytest.fixture
def fresh(backend: BackendProcess) -> Callable[[], None]:
    """Wait until the chat process has left, so that the next one reads its files anew."""

    def wait() -> None:
        eventually(lambda: backend.log.count("Chat process") % 2 == 0, "no chat process is there", 60)

    return wait


def adapter_of(backend: BackendProcess) -> Path:
    """Return the folder of the adapter that the chat process loads, with its weights as PEFT wrote them alone."""
    (folder,) = (backend.data / "adapters").iterdir()
    for converted in folder.glob("*.gguf"):
        converted.unlink()
    return folder


def checked(result: TrainingResult) -> EvaluationReport:
    """Have the check alone made."""
    return result.evaluate(limit=0, retention=False, timeout=200)


def test_a_report_names_the_leaked_row_and_finds_the_trained_adapter(trained: TrainingResult) -> None:
    """The leaked row is not asked; the losses agree; the report comes back the same from the backend."""
    report = trained.evaluate(limit=10, scorers=["exact", "overlap"], timeout=200)
    assert report.rows is not None
    assert [(row.row, row.training_row) for row in report.rows.leaked] == [(LEAKED + 1, 4)]
    assert report.rows.asked == len(report.table) == 5
    assert LEAKED + 1 not in {case.row for case in report.table}
    assert report.candidates == ["base", "adapter"]
    assert report.retention is not None
    assert len(report.retention.table) == 40
    assert report.check is not None
    assert report.check.is_same, report.check
    assert report.check.tokens == 6 * 6  # with the mark that opens the answer, and the one that ends it
    assert trained.report().to_wire() == report.to_wire()
    scores = [log.eval_score for log in trained.metrics() if log.eval_score is not None]
    assert len(scores) == 2
    [served] = [score.values["adapter"] for score in report.scores if score.name == "chrf"]
    assert served == max(scores) > 0  # the chat engine answers as the trainer measured


def test_another_template_is_noticed(
    backend: BackendProcess, trained: TrainingResult, fresh: Callable[[], None]
) -> None:
    """It is named as the cause."""
    template = Path(str(trained.job.config["model"])) / "chat_template.jinja"
    kept = template.read_text()
    fresh()
    template.write_text(kept.replace("<{{ m['role'] }}>", "<{{ m['role'] }}> say"))
    try:
        check = checked(trained).check
    finally:
        template.write_text(kept)
    assert check is not None
    assert not check.is_same
    assert "template" in check.cause


@pytest.mark.parametrize(
    ("scale", "cause"),
    [
        (0.5, "acts too weakly"),
        (0.0, "the adapter changes nothing"),
        (-8.0, "the weights of the adapter or of the base model are not"),
    ],
    ids=["half its scale", "no effect", "other weights"],
)
def test_another_adapter_is_noticed(
    backend: BackendProcess, trained: TrainingResult, fresh: Callable[[], None], scale: float, cause: str
) -> None:
    """With the likely cause; afterwards, with its own weights, it is the same again."""
    checked(trained)
    fresh()
    weights = adapter_of(backend) / "adapter_model.safetensors"
    kept = shutil.copy(weights, weights.with_suffix(".kept"))
    tensors = load_file(weights)
    save_file({name: (one * scale if "lora_B" in name else one) for name, one in tensors.items()}, weights)
    try:
        check = checked(trained).check
    finally:
        fresh()
        shutil.move(kept, adapter_of(backend) / weights.name)
    assert check is not None
    assert not check.is_same
    assert cause in check.cause
    again = checked(trained).check
    assert again is not None
    assert again.is_same, again
