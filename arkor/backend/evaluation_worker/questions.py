"""What every candidate is asked, and the cases that their answers make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from arkor.backend.evaluations.task import Task
from arkor.backend.inference.prompts import Prompts
from arkor.backend.task_worker.server_line import Asked
from arkor.backend.training_worker.rows.asked import AskedRow, request_of, room
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.parts import LeftOut, RowsAsked
from arkor.evaluation.retention import RetentionQuestion, questions as retention_questions
from arkor.protocol.evaluations import ADAPTER

_RETENTION_TOKENS = 32

Replies = Mapping[str, Mapping[str, Any]]


class Questions:
    """The questions of an evaluation.

    Args:
        task: the evaluation.
        tokenizer: the model's, of transformers.
        rows: the rows that are asked.

    Attributes:
        asked: each question to each candidate.
        max_tokens: longest answer to a row, in tokens.
    """

    def __init__(self, task: Task, tokenizer: Any, rows: Sequence[AskedRow]) -> None:
        self._rows = rows
        self._candidates = task.candidates
        self._tool_style = Prompts(tokenizer).tool_style
        self.max_tokens = task.options.max_tokens or room(tokenizer, rows)
        self._retention = retention_questions() if _asks_retention(task, tokenizer) else []
        self.asked = [*self._of_rows(), *self._of_retention()]

    def cases(self, replies: Replies) -> list[Case]:
        """Return the rows that all candidates have answered, with their answers."""
        return [
            Case(
                row=row.number,
                messages=row.question.messages,
                tools=row.question.tools or (),
                expected=row.question.expected,
                expected_calls=row.question.expected_calls,
                answers=answers,
            )
            for row in self._rows
            if (answers := self._answers(str(row.number), self._candidates, replies))
        ]

    def retention_cases(self, replies: Replies) -> list[tuple[RetentionQuestion, dict[str, Answered]]]:
        """Return the retention questions with the answers to them."""
        found = ((one, self._answers(one.id, self._of_two, replies)) for one in self._retention)
        return [(one, answers) for one, answers in found if answers]

    def answered_by(self, replies: Replies) -> list[str]:
        """Return what computed the answers."""
        found = {reply["answer"].get("madeBy") for reply in replies.values() if "answer" in reply}
        return sorted(found - {None})

    def about(self, rows: RowsAsked, replies: Replies) -> RowsAsked:
        """Return what the report says of the rows, with those that the server refused to ask."""
        refused = {
            row.number: replies[key]["refused"]
            for row in self._rows
            for candidate in self._candidates
            if "refused" in replies[key := _key(str(row.number), candidate)]
        }
        left_out = [LeftOut(number, reason) for number, reason in refused.items()]
        return attrs.evolve(rows, asked=rows.asked - len(refused), left_out=[*rows.left_out, *left_out])

    @property
    def _of_two(self) -> list[str]:
        return [self._candidates[0], ADAPTER]

    def _of_rows(self) -> list[Asked]:
        found = []
        for row in self._rows:
            request = request_of(row, self._tool_style, self.max_tokens)
            size = len(row.prompt or "") + sum(len(str(turn)) for turn in row.question.messages)
            found += [Asked(_key(str(row.number), one), one, request, size) for one in self._candidates]
        return found

    def _of_retention(self) -> list[Asked]:
        found = []
        for one in self._retention:
            messages = [{"role": "user", "content": one.question}]
            request = {"messages": messages, "temperature": 0, "maxTokens": _RETENTION_TOKENS}
            found += [Asked(_key(one.id, who), who, request, len(one.question)) for who in self._of_two]
        return found

    def _answers(self, name: str, candidates: Sequence[str], replies: Replies) -> dict[str, Answered]:
        """Return what each candidate answered; nothing, if one of them was refused the question."""
        found = {one: replies[_key(name, one)] for one in candidates}
        if any("refused" in reply for reply in found.values()):
            return {}
        return {one: _answered(reply["answer"]) for one, reply in found.items()}


def _key(name: str, candidate: str) -> str:
    return f"{name} {candidate}"


def _answered(answer: Mapping[str, Any]) -> Answered:
    return Answered(text=answer["text"], calls=tuple(answer["calls"]), finish_reason=answer["finishReason"])


def _asks_retention(task: Task, tokenizer: Any) -> bool:
    return task.options.retention and bool(tokenizer.chat_template)
