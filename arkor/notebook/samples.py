"""The answers that a model gave to the same prompts during its training.

Protocol: docs/protocol.md, "The event stream": ``sample.made``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from arkor.evaluation.cases import content_text
from arkor.protocol import wire
from arkor.protocol.events import Event

SAMPLE_MADE = "sample.made"
LONGEST = 300  # characters of a text that are kept to be shown


@attrs.frozen
class Shown:
    """An answer to a prompt, cut to what is shown.

    Attributes:
        step: optimizer steps done.
        number: which prompt it answers, from 0.
        prompt: the last message that was asked.
        expected: the right answer; None if there is none.
        answer: the model's answer.
        is_exact: whether it is the right one; None if that is not known.
    """

    step: int
    number: int
    prompt: str
    expected: str | None
    answer: str
    is_exact: bool | None


def sample_of(event: Event) -> Shown | None:
    """Return the answer that an event brings; None for an event of another kind."""
    if event.type != SAMPLE_MADE:
        return None
    body = event.body
    exact, expected = body.get("exact"), wire.optional_text(body.get("expected"))
    return Shown(
        wire.whole_number(body.get("step")) or 0,
        wire.whole_number(body.get("sample")) or 0,
        _short(_asked(body)),
        None if expected is None else _short(expected),
        _short(wire.text(body.get("answer"))),
        exact if isinstance(exact, bool) else None,
    )


def _asked(body: Mapping[str, Any]) -> str:
    prompt = body.get("prompt")
    messages = wire.objects(prompt)
    return content_text(messages[-1].get("content")) if messages else wire.text(prompt)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
