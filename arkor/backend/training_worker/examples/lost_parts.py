"""What of a row its rendering leaves out: a chat template shows only what its author thought of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from arkor.backend.inference.messages import Message
from arkor.backend.inference.tools import Tools
from arkor.data.formats import says_nothing


@attrs.frozen
class LostPart:
    """A part of a row that no example shows.

    Attributes:
        field: ``content``, ``reasoning_content``, ``tool_calls`` or ``tools``.
        message: the number of its message, from 1; None for the row's tools.
    """

    field: str
    message: int | None = None

    def __str__(self) -> str:
        return f"the {self.field}" if self.message is None else f"the {self.field} of message {self.message}"


def lost_parts(
    turns: Iterable[Message], tools: Tools | None, prompts: Iterable[str], said: Mapping[int, str]
) -> list[LostPart]:
    """Return the parts of a row that no example shows.

    Blanks at the ends of a text do not count: most templates trim them. Nor does the reasoning of a turn that is not
    learnt: templates leave it out of the prompt on purpose.

    Args:
        turns: the conversation, normalised.
        tools: what the assistant may call, or None.
        prompts: the prompts of the row's examples.
        said: what the model has to produce in each answer that is learnt, by the index of its turn.
    """
    whole = "\n".join((*prompts, *said.values()))
    lost = []
    for place, turn in enumerate(turns):
        text = said.get(place, whole)
        parts = {
            "content": [turn["content"]],
            "reasoning_content": [turn.get("reasoning_content", "")] if place in said else [],
            "tool_calls": _texts_of_calls(turn.get("tool_calls", ())),
        }
        lost += [
            LostPart(field, place + 1)
            for field, texts in parts.items()
            if not all(_is_shown(one, text) for one in texts)
        ]
    if tools is not None and not all(_is_shown(one, whole) for one in _texts_of_tools(tools)):
        lost.append(LostPart("tools"))
    return lost


def unseen_keys(messages: Sequence[Mapping[str, Any]], turns: Sequence[Message], text: str) -> tuple[str, ...]:
    """Return the keys of messages that say something and that no example shows, such as ``messages.refusal``.

    A chat template is not given them. It is given the ``name`` of a tool's answer, and few show it.

    Args:
        messages: the conversation, as the row has it.
        turns: the same, normalised.
        text: what all examples of the row show.
    """
    keys = (
        key
        for message, turn in zip(messages, turns, strict=True)
        for key, value in message.items()
        if key != "weight" and not says_nothing(value)
        if key not in turn or (key == "name" and not _is_shown(value, text))
    )
    return tuple(dict.fromkeys(f"messages.{key}" for key in keys))


def _is_shown(part: str, text: str) -> bool:
    """Say whether a text holds a part of it, as it is or as JSON shows it."""
    stripped = part.strip()
    return stripped in text or any(json.dumps(stripped, ensure_ascii=way)[1:-1] in text for way in (True, False))


def _texts_of_calls(calls: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for call in calls:
        yield call["function"]["name"]
        yield from _leaves(call["function"]["arguments"])


def _texts_of_tools(tools: Tools) -> Iterator[str]:
    for function in tools.functions:
        yield function["name"]
        yield function["description"]
        for name, schema in (function["parameters"].get("properties") or {}).items():
            yield name
            if isinstance(schema, Mapping) and isinstance(schema.get("description"), str):
                yield schema["description"]


def _leaves(value: Any) -> Iterator[str]:
    """Yield the keys, texts and numbers of a JSON value; true, false and null look different in each template."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield json.dumps(value)
