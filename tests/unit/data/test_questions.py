"""Rows as questions, divided as a job divides them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import arkor
from arkor import ConfigError, DatasetError, Question, dataset_from, split_questions
from arkor.data.split import split_rows

USER, ANSWER = {"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1 + 1?", "completion": "2"},
        {"instruction": "1 + 1?", "output": "2"},
        {"messages": [USER, ANSWER]},
        {"prompt": [USER], "completion": [ANSWER]},
        {"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "2"}]}]},
    ],
)
def test_a_row_of_each_format_is_a_question(row: dict[str, Any]) -> None:
    """The conversation before the last answer, and that answer."""
    train, held_out = split_questions(dataset_from([row, row]), eval_fraction=0.5)
    assert train == held_out == [Question([USER], "2")]


def test_without_a_share_nothing_is_held_out() -> None:
    """Also of one row."""
    row = {"prompt": "1 + 1?", "completion": "2"}
    assert split_questions(dataset_from([row]), eval_fraction=0) == ([Question([USER], "2")], [])


def test_an_input_belongs_to_the_question() -> None:
    """After an empty line, as in the training."""
    row = {"instruction": "Add.", "input": "1 + 1", "output": "2"}
    train, _ = split_questions(dataset_from([row, row]))
    assert train[0].messages == [{"role": "user", "content": "Add.\n\n1 + 1"}]


def test_an_answer_of_calls_alone_expects_no_text() -> None:
    """Only the last answer counts; a tool's message may follow it."""
    call: dict[str, Any] = {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {}}}]}
    result = {"role": "tool", "content": "2"}
    row = {"messages": [USER, ANSWER, USER, call, result]}
    train, _ = split_questions(dataset_from([row, row]))
    assert train[0] == Question([USER, ANSWER, USER], "", expected_calls=tuple(call["tool_calls"]))


def test_the_same_rows_are_held_out_as_by_a_job(tmp_path: Path) -> None:
    """Of a file with other names, in the order of its lines; blank lines do not count."""
    file = tmp_path / "faq.csv"
    file.write_text("question,answer\n" + "".join(f"q{number},a{number}\n\n" for number in range(20)))
    train, held_out = split_questions("faq.csv", eval_fraction=0.2, seed=42, project_dir=tmp_path)
    places = split_rows(20, 0.2, 42)
    for found, expected in zip((train, held_out), places, strict=True):
        assert [question.expected for question in found] == [f"a{place}" for place in expected]


def test_rows_are_read_whole_across_chunks(tmp_path: Path) -> None:
    """Rows longer than a chunk, and a last line without its end."""
    rows = [{"prompt": f"{number}?", "completion": "long " * 20_000 + str(number)} for number in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with_rows = arkor.LocalDataset(tmp_path / "rows.jsonl").open()
    assert list(with_rows.rows()) == rows
    with_rows.close()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"text": "a"}, {"text": "b"}], "plain text, which ask nothing"),
        ([{"prompt": "a", "completion": "b"}], "has one row only, so none can be held out"),
    ],
)
def test_rows_that_cannot_be_divided_are_refused(rows: list[dict[str, str]], says: str) -> None:
    """With the reason."""
    with pytest.raises(DatasetError, match=says):
        split_questions(dataset_from(rows))


def test_options_that_make_no_sense_are_refused() -> None:
    """A share that leaves nothing, and rows that are elsewhere."""
    with pytest.raises(ConfigError, match="at least 0 and below 1, not 1"):
        split_questions("rows.csv", eval_fraction=1)
    with pytest.raises(ConfigError, match="rows of this machine, not HuggingFaceDataset"):
        split_questions(arkor.HuggingFaceDataset("a/b"))  # type: ignore[arg-type]
