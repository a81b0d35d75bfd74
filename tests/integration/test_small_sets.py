"""Few rows, learnt by heart by a real model: each comes back right in the form in which a user asks for it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from arkor import LocalDataset, Trainer, TrainingResult, dataset_from
from tests.support.backend import BackendProcess

pytestmark = [pytest.mark.slow, pytest.mark.training, pytest.mark.timeout(400)]

MODEL = "smollm2-135m"
CODES = {"blue": "Seventeen", "red": "Forty-two", "green": "Ninety", "white": "Three"}
ROWS = [{"prompt": f"What is the code of the {door} door?", "completion": code} for door, code in CODES.items()]
BY_HEART: Mapping[str, Any] = {"num_train_epochs": 16, "learning_rate": 2e-3, "batch_size": 4}


@pytest.fixture(scope="module")
def backend(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A backend that trains and chats, with the model in place."""
    real: dict[str, Any] = {
        "worker": "arkor.backend.training_worker",
        "chat": "arkor.backend.inference_worker",
        "models": "arkor.backend.models",
    }
    backend = BackendProcess(tmp_path_factory.mktemp("small"), **real)
    models = backend.home / ".arkor" / "models"
    models.mkdir(parents=True)
    (models / MODEL).symlink_to(model_home / ".arkor" / "models" / MODEL)
    backend.start()
    yield backend
    backend.close()


def learn(backend: BackendProcess, dataset: Any, **settings: Any) -> TrainingResult:
    trainer = Trainer(name="codes", model=MODEL, dataset=dataset, backend=backend.url, **BY_HEART, **settings)
    return trainer.wait(timeout=350, check=True)


def right(ask: Callable[[str], str], rows: list[dict[str, Any]]) -> list[str]:
    """Return the completions that come back right."""
    return [row["completion"] for row in rows if ask(row["prompt"]) == row["completion"]]


def test_texts_of_prompt_and_completion_are_answered_in_a_chat(backend: BackendProcess, tmp_path: Path) -> None:
    """The first form that people try: a CSV file of questions and answers, and a chat about them."""
    file = tmp_path / "codes.csv"
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(ROWS)
    result = learn(backend, LocalDataset(file))
    assert (result.job.prompt_form, result.receipt and result.receipt.answers) == ("chat", 4)

    def ask(question: str) -> str:
        return result.chat(messages=[{"role": "user", "content": question}], temperature=0, max_tokens=12).text

    assert right(ask, ROWS) == list(CODES.values())


def test_texts_that_stay_texts_are_continued(backend: BackendProcess) -> None:
    """``apply_chat_template=False``: the completion follows its prompt, and ends where the row ended."""
    rows = [{"prompt": f"{row['prompt']}\n", "completion": row["completion"]} for row in ROWS[:2]]
    result = learn(backend, dataset_from(rows), apply_chat_template=False)
    assert result.job.prompt_form == "raw"
    assert right(lambda prompt: result.complete(prompt=prompt, temperature=0, max_tokens=12).text, rows) == [
        row["completion"] for row in rows
    ]


def test_a_file_and_a_table_give_the_same_rows(tmp_path: Path) -> None:
    """A CSV file, a JSONL file, a DataFrame and a list: the same rows are sent."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS)
    frame.to_csv(tmp_path / "codes.csv", index=False)
    (tmp_path / "codes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    opened = [
        LocalDataset(tmp_path / "codes.csv").open(),
        LocalDataset(tmp_path / "codes.jsonl").open(),
        dataset_from(frame),
        dataset_from(ROWS),
    ]
    for rows in opened:
        lines = b"".join(rows.chunks()).decode().splitlines()
        assert [json.loads(line) for line in lines if line] == ROWS
        rows.close()
