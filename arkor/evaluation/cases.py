"""A row that was asked, and the answers to it.

Protocol: docs/protocol.md, "Evaluations": the ``table`` of a report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from arkor.protocol import wire


@attrs.frozen(kw_only=True)
class Answered:
    """What a candidate answered.

    Attributes:
        text: the answer's text.
        calls: the functions that it calls, in chat completions form.
        finish_reason: why it ended: ``stop``, ``length`` or ``tool_calls``.

    Example:
        ``Answered(text="At nine.", finish_reason="stop")``
    """

    text: str = ""
    calls: Sequence[Mapping[str, Any]] = ()
    finish_reason: str = ""

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Answered:
        """Read an answer of a report."""
        calls, reason = wire.objects(body.get("calls")), wire.text(body.get("finishReason"))
        return cls(text=wire.text(body.get("text")), calls=calls, finish_reason=reason)

    def to_wire(self) -> dict[str, Any]:
        """Return the answer as a report has it."""
        calls = {"calls": list(self.calls)} if self.calls else {}
        return {"text": self.text, **calls, "finishReason": self.finish_reason}


@attrs.frozen(kw_only=True)
class Case:
    """A row that was asked, with the answer that it expects and those that came.

    Attributes:
        row: its number, from 1: a line of a file, or a place in a split.
        messages: the conversation up to the answer.
        tools: the functions that the model might call; empty if there were none.
        expected: the text of the expected answer.
        expected_calls: the calls of the expected answer, in chat completions form.
        answers: by the names of the candidates.
        scores: by the names of the metrics, then of the candidates, from 0 to 1; empty until they are scored.

    Example:
        ``Case(row=3, messages=[…], expected="At nine.", answers={"base": Answered(text="I do not know.")})``
    """

    row: int
    messages: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    expected: str = ""
    expected_calls: Sequence[Mapping[str, Any]] = ()
    answers: Mapping[str, Answered] = attrs.field(factory=dict, hash=False)
    scores: Mapping[str, Mapping[str, float]] = attrs.field(factory=dict, hash=False)

    @property
    def question(self) -> str:
        """The text of the last message before the answer."""
        return wire.content_text(self.messages[-1].get("content")) if self.messages else ""

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Case:
        """Read a row of a report's table."""
        answers = wire.mapping(body.get("answers"))
        scores = {name: wire.mapping(values) for name, values in wire.mapping(body.get("scores")).items()}
        return cls(
            row=wire.whole_number(body.get("row")) or 0,
            messages=wire.objects(body.get("messages")),
            tools=wire.objects(body.get("tools")),
            expected=wire.text(body.get("expected")),
            expected_calls=wire.objects(body.get("expectedCalls")),
            answers={name: Answered.from_wire(wire.mapping(answer)) for name, answer in answers.items()},
            scores={
                name: {who: number for who, value in values.items() if (number := wire.number(value)) is not None}
                for name, values in scores.items()
            },
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the row as a report has it."""
        body: dict[str, Any] = {"row": self.row, "messages": list(self.messages)}
        body |= {"tools": list(self.tools)} if self.tools else {}
        body |= {"expected": self.expected}
        body |= {"expectedCalls": list(self.expected_calls)} if self.expected_calls else {}
        body |= {"answers": {name: answer.to_wire() for name, answer in self.answers.items()}}
        return body | {"scores": {name: dict(values) for name, values in self.scores.items()}}
