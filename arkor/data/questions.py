"""Rows as questions to a model, with the answers that they expect; to measure what a training changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.data.checked import CheckedDataset
from arkor.data.datasets import LocalDataset, opened, parse_dataset
from arkor.data.formats import row_format
from arkor.data.split import split_rows
from arkor.errors import ConfigError, DatasetError


@attrs.frozen
class Question:
    """What a row asks, and the answer that it expects.

    Attributes:
        messages: the conversation up to the last answer, as ``result.chat(messages=…)`` takes it.
        expected: the text of the last answer; empty if it calls functions alone.
        tools: the functions that the model may call, as ``result.chat(tools=…)`` takes them; None if there are none.
        expected_calls: the calls of the last answer, in chat completions form.

    Example:
        ``Question([{"role": "user", "content": "When do you open?"}], "At nine.")``
    """

    messages: list[Mapping[str, Any]]
    expected: str
    tools: list[Mapping[str, Any]] | None = None
    expected_calls: tuple[Mapping[str, Any], ...] = ()


def split_questions(
    dataset: LocalDataset | CheckedDataset | str | Path,
    *,
    eval_fraction: float = 0.1,
    seed: int | None = None,
    project_dir: str | Path | None = None,
) -> tuple[list[Question], list[Question]]:
    """Return the questions of the rows that a job trains on, and of those that it holds out.

    A job with ``dataset_split={"eval_fraction": …, "seed": …}`` of the same values holds out the same rows.

    Args:
        dataset: rows of this machine: a data set, or a path for ``LocalDataset``.
        eval_fraction: the share to hold out, 0 to below 1.
        seed: of the choice of rows; None holds out the last ones.
        project_dir: where a relative path starts; by default the working directory.

    Returns:
        (questions to train on, held-out questions), each in the order of the rows.

    Raises:
        DatasetError: the rows cannot be read or trained on, or are plain text, which asks nothing; or one row alone
            is to be divided.
        ConfigError: this is no data set of this machine, or the share is out of its range.

    Example:
        ``_, held_out = split_questions("faq.csv", eval_fraction=0.2, seed=42)``
    """
    if not 0 <= eval_fraction < 1:
        raise ConfigError("eval_fraction", f"must be a number of at least 0 and below 1, not {eval_fraction!r:.100}")
    rows = parse_dataset(dataset)
    if not isinstance(rows, LocalDataset | CheckedDataset):
        raise ConfigError("dataset", f"must be rows of this machine, not {type(rows).__name__}")
    with opened(rows, None if project_dir is None else Path(project_dir)) as checked:
        questions = list(_questions(rows.source, checked.rows()))
    if not eval_fraction:
        return questions, []
    if len(questions) < 2:
        raise DatasetError(rows.source, "has one row only, so none can be held out")
    train, held_out = split_rows(len(questions), eval_fraction, seed)
    return [questions[place] for place in train], [questions[place] for place in held_out]


def question_of(row: Mapping[str, Any]) -> Question | None:
    """Return what a good row asks, and the answer that it expects; None if it is plain text, which asks nothing."""
    match row_format(row):
        case "prompt_completion":
            return _of_texts_or_turns(row["prompt"], row["completion"], row.get("tools"))
        case "alpaca":
            details = row.get("input") or ""
            instruction = row["instruction"]
            return _of_texts_or_turns(f"{instruction}\n\n{details}" if details else instruction, row["output"])
        case "chatml":
            return _of_turns(row["messages"], row.get("tools"))
    return None


def plain_prompt(row: Mapping[str, Any]) -> str | None:
    """Return the text that a good row asks with where no chat template is used; None if it is a conversation."""
    if row_format(row) == "alpaca":
        details = row.get("input") or ""
        context = f"### Input:\n{details}\n\n" if details else ""
        return f"### Instruction:\n{row['instruction']}\n\n{context}### Response:\n"
    prompt = row.get("prompt")
    return prompt if isinstance(prompt, str) else None


def _questions(source: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Question]:
    for row in rows:
        question = question_of(row)
        if question is None:
            raise DatasetError(source, "has rows of plain text, which ask nothing")
        yield question


def _of_texts_or_turns(prompt: Any, completion: Any, tools: Any = None) -> Question:
    if isinstance(prompt, str):
        return Question([{"role": "user", "content": prompt}], completion)
    return _of_turns([*prompt, *completion], tools)


def _of_turns(turns: list[Mapping[str, Any]], tools: Any = None) -> Question:
    last = max(place for place, turn in enumerate(turns) if turn["role"] == "assistant")
    answer = turns[last]
    offered = json.loads(tools) if isinstance(tools, str) else tools
    calls = tuple(answer.get("tool_calls") or ())
    return Question(turns[:last], _text(answer.get("content")), offered or None, calls)


def _text(content: Any) -> str:
    """Return a message's content as one text; empty if it has calls alone."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content or ""
