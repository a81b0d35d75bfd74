"""Conversations in ShareGPT's form, made messages.

Source: the descriptions of the form by FastChat, axolotl and LLaMA-Factory: turns with ``from`` and ``value``, and
beside them ``system``, a text, and ``tools``, JSON as a text.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from typing import Any

SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}
CALL = "function_call"


class NoMessages(ValueError):
    """A conversation has something that no message can say; the text is the reason."""


def with_messages(row: Mapping[str, Any], column: str) -> dict[str, Any]:
    """Return a row of ``chatml``; its other keys stay as they are, and so do turns with ``role`` and ``content``.

    Args:
        row: a row.
        column: the key of its turns.

    Raises:
        NoMessages: it cannot be one.
    """
    turns = row.get(column)
    if not isinstance(turns, list):
        raise NoMessages(f"{column} must be a list of turns")
    messages = [_message(turn, f"{column}, turn {number}") for number, turn in enumerate(turns, start=1)]
    rest = {key: value for key, value in row.items() if key not in {column, "system"}}
    if rest.get("tools") == "":
        del rest["tools"]
    system = row.get("system")
    if isinstance(system, str) and system.strip():
        if any(isinstance(one, Mapping) and one.get("role") == "system" for one in messages[:1]):
            raise NoMessages(f"system stands beside {column}, whose first turn is a system message too")
        messages.insert(0, {"role": "system", "content": system})
    elif system not in (None, "") and not isinstance(system, str):
        raise NoMessages("system must be a text")
    return {"messages": messages, **rest}


def _message(turn: Any, where: str) -> Any:
    if not isinstance(turn, Mapping) or "from" not in turn:
        return turn
    if "value" not in turn:
        raise NoMessages(f"{where}: has from, but no value")
    speaker = turn["from"]
    rest = {key: value for key, value in turn.items() if key not in {"from", "value"}}
    if speaker == CALL:
        return {"role": "assistant", "tool_calls": _calls(turn["value"], where), **rest}
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        known = ", ".join([*SPEAKERS, CALL])
        raise NoMessages(f"{where}: from must be one of {known}, not {reprlib.repr(speaker)}")
    return {"role": SPEAKERS[speaker], "content": turn["value"], **rest}


def _calls(value: Any, where: str) -> list[dict[str, Any]]:
    given = _json(value, f"{where}: the value of {CALL}")
    calls = given if isinstance(given, list) else [given]
    if not calls or not all(isinstance(call, Mapping) and {"name", "arguments"} <= call.keys() for call in calls):
        raise NoMessages(f"{where}: the value of {CALL} needs name and arguments")
    return [{"type": "function", "function": {key: call[key] for key in ("name", "arguments")}} for call in calls]


def _json(value: Any, what: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as exc:
        raise NoMessages(f"{what} is a text that is not JSON") from exc
