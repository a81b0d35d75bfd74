"""The rows of an evaluation: chosen, and without those that the training had."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor.backend.evaluation_worker.rows import choose_for
from arkor.backend.evaluations.task import Task
from arkor.backend.task_worker.rows import job_rows
from arkor.errors import DatasetError
from arkor.evaluation.parts import LeftOut, SharedRow
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import EvaluationOptions
from arkor.protocol.record import TrainingRecord

UPLOADED = {"type": "dataset", "id": "0" * 64}


def chat(question: str, answer: str, system: str = "") -> dict[str, Any]:
    """Return a row of messages."""
    before = [{"role": "system", "content": system}] if system else []
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": [*before, *turns]}


def task(
    folder: Path,
    train: Sequence[dict[str, Any]],
    held_out: Sequence[dict[str, Any]] = (),
    asked: Sequence[dict[str, Any]] = (),
    **options: Any,
) -> Task:
    """Return an evaluation of a job with these rows; ``asked`` are rows of its own."""
    paths: dict[str, Any] = {}
    for name, rows in {"dataset": train, "eval_dataset": held_out, "rows": asked}.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths[f"{name}_path"] = str(path) if rows else None
    options |= {"rows": UPLOADED} if asked else {}
    return Task(
        id="eval_1",
        job_id="job_1",
        config=JobConfig(model="m", dataset_source=UPLOADED, eval_dataset_source=UPLOADED if held_out else None),
        prompt_form="chat",
        options=EvaluationOptions(**options),
        candidates=["base", "adapter"],
        model_path="m",
        folder=folder,
        artifacts_folder=folder,
        artifact="report-1",
        allow_private_urls=False,
        record=None,
        max_length=None,
        trained_loss=None,
        created_at="",
        **paths,
    )


def chosen(made: Task) -> Any:
    """Return the rows that an evaluation asks."""
    return choose_for(made, job_rows(made))


FORMS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "the same": chat,
    "other blanks and capitals": lambda question, answer: chat(f" {question.upper()}\n", f"{answer} "),
    "another system message": lambda question, answer: chat(question, answer, system="Be short."),
    "texts": lambda question, answer: {"prompt": question, "completion": answer},
    "an instruction": lambda question, answer: {"instruction": question, "output": answer},
    "lists": lambda question, answer: {
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": answer}],
    },
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_row_of_the_training_is_named_and_not_asked(
    tmp_path: Path, form: Callable[[str, str], dict[str, Any]]
) -> None:
    """In whatever form it comes."""
    train = [chat("two plus two?", "4"), chat("one plus one?", "2", system="Add.")]
    asked = [form("one plus one?", "2"), form("one plus three?", "4")]
    found = chosen(task(tmp_path, train, asked=asked))
    assert [row.number for row in found.asked] == [2]
    assert found.about.leaked == [SharedRow(1, 2)]
    assert (found.about.available, found.about.asked, found.about.is_held_out) == (2, 1, False)


def test_a_part_of_a_conversation_of_the_training_is_known(tmp_path: Path) -> None:
    """The training learnt every answer of it."""
    turns = [*chat("a?", "b")["messages"], *chat("c?", "d")["messages"]]
    found = chosen(task(tmp_path, [{"messages": turns}], asked=[chat("a?", "b"), chat("c?", "d")]))
    assert found.about.leaked == [SharedRow(1, 1)]
    assert [row.number for row in found.asked] == [2]


def test_the_same_question_with_another_answer_is_asked_and_named(tmp_path: Path) -> None:
    """It measures, though not only what is new."""
    found = chosen(task(tmp_path, [chat("a?", "b")], held_out=[chat("a?", "c"), chat("d?", "e")]))
    assert [row.number for row in found.asked] == [1, 2]
    assert (found.about.leaked, found.about.same_question) == ([], [SharedRow(1, 1)])
    assert found.about.is_held_out


def test_the_most_rows_are_chosen_from_all_of_the_file(tmp_path: Path) -> None:
    """The same ones each time, in the order of their numbers; leaked rows do not count."""
    train = [chat("q0", "a"), chat("q99", "a")]
    made = task(tmp_path, train, held_out=[chat(f"q{number}", "a") for number in range(100)], limit=10)
    numbers = [row.number for row in chosen(made).asked]
    assert numbers == [row.number for row in chosen(made).asked] == sorted(numbers)
    assert len(numbers) == 10
    assert numbers[-1] > 50
    assert not {1, 100} & set(numbers)


def test_rows_that_ask_nothing_are_left_out(tmp_path: Path) -> None:
    """A file of them is refused."""
    opening = {"messages": [{"role": "assistant", "content": "Hello"}]}
    found = chosen(task(tmp_path, [chat("a?", "b")], held_out=[opening, chat("c?", "d")]))
    assert (found.about.left_out, [row.number for row in found.asked]) == ([LeftOut(1, "begins with the answer")], [2])
    with pytest.raises(DatasetError, match="has no row that asks anything"):
        chosen(task(tmp_path, [chat("a?", "b")], held_out=[{"text": "plain"}]))


def test_without_rows_there_is_no_evaluation(tmp_path: Path) -> None:
    """The error says what to do."""
    with pytest.raises(DatasetError, match="the job held no rows out: name the rows to ask"):
        chosen(task(tmp_path, [chat("a?", "b")]))
    with pytest.raises(DatasetError, match="all of its 1 rows are rows that the job trained on"):
        chosen(task(tmp_path, [chat("a?", "b")], held_out=[chat("a?", "b")]))


def test_rows_that_have_changed_since_the_training_are_refused(tmp_path: Path) -> None:
    """As far as the record of the training tells; uploaded rows never change."""
    made = task(tmp_path, [chat("a?", "b")], held_out=[chat("c?", "d")])
    assert chosen(attrs.evolve(made, record=TrainingRecord(rows=UPLOADED, held_out_rows=UPLOADED))).asked
    source = {"type": "blob", "url": "https://example.com/rows", "sha256": "1" * 64}
    with pytest.raises(DatasetError, match="has changed since the job was trained"):
        chosen(attrs.evolve(made, record=TrainingRecord(rows=source)))


def test_a_raw_training_is_asked_with_its_plain_text(tmp_path: Path) -> None:
    """As the rows were trained."""
    rows = [{"instruction": "Add.", "input": "1 + 1", "output": "2"}, {"instruction": "Go.", "output": "ok"}]
    made = task(tmp_path, [chat("a?", "b")], held_out=rows)
    assert [row.prompt for row in chosen(attrs.evolve(made, prompt_form="raw")).asked] == [
        "### Instruction:\nAdd.\n\n### Input:\n1 + 1\n\n### Response:\n",
        "### Instruction:\nGo.\n\n### Response:\n",
    ]
    assert [row.prompt for row in chosen(made).asked] == [None, None]


def test_a_task_travels_whole(tmp_path: Path) -> None:
    """As the JSON object on its line."""
    made = attrs.evolve(task(tmp_path, [chat("a?", "b")], limit=3), record=TrainingRecord(device="cpu"))
    assert Task.from_line(json.loads(json.dumps(made.to_line()))) == made
