"""The prompts of a job's samples, and the events that their answers become.

Protocol: docs/protocol.md, "Samples".
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from arkor.backend.inference.prompts import ToolStyle
from arkor.backend.training_worker.rows.asked import AskedRow, choose, request_of
from arkor.backend.training_worker.rows.load import Rows
from arkor.errors import ConfigError, DatasetError
from arkor.evaluation.cases import Answered
from arkor.evaluation.values import collapsed, plain_calls
from arkor.protocol import wire
from arkor.protocol.config import JobConfig

LONGEST_ROW_BYTES = 32 * 1024  # of a row's question and answer: each of its samples is an event that is kept
LONGEST_ANSWER_BYTES = 16 * 1024


@attrs.frozen
class Asked:
    """A prompt that is asked.

    Attributes:
        prompt: the messages, or a plain text.
        fields: the request, but for its longest answer.
        row: the held-out row that it comes from; None for a prompt of the job's settings.
    """

    prompt: Any
    fields: dict[str, Any]
    row: AskedRow | None = None

    def expected(self) -> str | None:
        """Return the row's own answer; None if there is none."""
        if self.row is None:
            return None
        return _shown(Answered(text=self.row.question.expected, calls=self.row.question.expected_calls))

    def event(self, number: int, step: int, answer: Answered) -> dict[str, Any]:
        """Return the fields of the event that tells an answer.

        Args:
            number: of the prompt, from 0.
            step: optimizer steps done.
            answer: the answer.
        """
        text, cut = _within(_shown(answer))
        fields = {"step": step, "sample": number, "prompt": self.prompt, "answer": text}
        if self.row is not None:
            fields |= {"row": self.row.number, "expected": self.expected(), "exact": _is_exact(self.row, answer)}
        return {**fields, "truncated": True} if cut or answer.finish_reason == "length" else fields


def prompts_of(config: JobConfig, rows: Callable[[], Rows], tool_style: ToolStyle, *, is_raw: bool) -> list[Asked]:
    """Return what a job may ask: its prompts, or all held-out rows, those that are to be asked first.

    They are the same in each attempt.

    Args:
        config: the job's settings, with ``sample_prompts``.
        rows: returns the job's rows.
        tool_style: the model's.
        is_raw: whether the training sees plain text.

    Raises:
        ConfigError: there are no held-out rows that can be asked.
    """
    asked = config.sample_prompts or 0
    if not isinstance(asked, int):
        return [_given(prompt, is_raw=is_raw) for prompt in asked]
    return [
        Asked(row.question.messages if row.prompt is None else row.prompt, request_of(row, tool_style, 1), row)
        for row in _held_out(rows(), wire.mapping(config.dataset_split).get("seed"), is_raw=is_raw)
    ]


def _given(prompt: Any, *, is_raw: bool) -> Asked:
    if isinstance(prompt, str) and is_raw:
        return Asked(prompt, {"prompt": prompt, "temperature": 0})
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return Asked(messages, {"messages": messages, "temperature": 0})


def _held_out(rows: Rows, seed: int | None, *, is_raw: bool) -> Sequence[AskedRow]:
    try:
        found = choose(rows, None, limit=len(rows.eval.rows), is_raw=is_raw).asked
    except DatasetError as exc:
        raise ConfigError("sample_prompts", f"{exc}; or give the prompts in place of a number") from exc
    short = [row for row in found if _size(row) <= LONGEST_ROW_BYTES]
    if not short:
        raise ConfigError(
            "sample_prompts",
            f"no held-out row is short enough to be kept as a sample ({LONGEST_ROW_BYTES // 1024} KiB): give the "
            "prompts in place of a number",
        )
    return random.Random(seed or 0).sample(short, len(short))


def _size(row: AskedRow) -> int:
    question = row.question
    held = [row.prompt or question.messages, question.expected, question.expected_calls]
    return len(json.dumps(held, ensure_ascii=False).encode())


def _shown(answer: Answered) -> str:
    """Return an answer as one text: what it says, then a line for each call."""
    calls = [
        json.dumps({"name": name, "arguments": value}, ensure_ascii=False) for name, value in plain_calls(answer.calls)
    ]
    return "\n".join([*([answer.text] if answer.text or not calls else []), *calls])


def _is_exact(row: AskedRow, answer: Answered) -> bool:
    said, question = collapsed(answer.text), row.question
    return said == collapsed(question.expected) and plain_calls(answer.calls) == plain_calls(question.expected_calls)


def _within(text: str) -> tuple[str, bool]:
    """Return a text, cut to what an event may have, and whether it was cut."""
    content = text.encode()
    return content[:LONGEST_ANSWER_BYTES].decode(errors="ignore"), len(content) > LONGEST_ANSWER_BYTES
