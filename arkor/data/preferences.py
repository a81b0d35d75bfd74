"""Rows of preferences: a prompt with two answers, one of them better. They are checked, and not trained on yet.

Source: TRL's ``prompt``, ``chosen`` and ``rejected``, texts or lists of messages, the prompt possibly in both answers;
OpenAI's ``input``, ``preferred_output`` and ``non_preferred_output`` for direct preference optimization.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arkor.data.formats import PREFERENCE_KEYS, messages_problem, messages_size, tools_problem

_OPENAI = PREFERENCE_KEYS[1]


def preference_problem(row: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a row of preferences, or return None.

    Args:
        row: a row with both answers.
    """
    keys = _keys(row)
    if keys == _OPENAI:
        given = row.get("input")
        if not isinstance(given, Mapping):
            return "input must be an object with messages"
        reason = messages_problem(given.get("messages"), where="input.messages", answered=True)
        reason = reason or tools_problem(given.get("tools"))
    elif isinstance(row.get("prompt"), list):
        reason = messages_problem(row["prompt"], where="prompt", answered=True)
    else:
        reason = None if isinstance(row.get("prompt", ""), str) else "prompt must be a text or a list of messages"
    return reason or _answers_problem(row, keys)


def preference_size(row: Mapping[str, Any]) -> tuple[int, int]:
    """Return the turns and the characters of a good row, see ``row_size``."""
    given = row.get("input")
    prompt = given["messages"] if isinstance(given, Mapping) else row.get("prompt", "")
    sizes = [_size(part) for part in (prompt, *(row[key] for key in _keys(row)))]
    return sum(turns for turns, _ in sizes), sum(characters for _, characters in sizes)


def _keys(row: Mapping[str, Any]) -> tuple[str, str]:
    return next(keys for keys in PREFERENCE_KEYS if row.keys() >= set(keys))


def _answers_problem(row: Mapping[str, Any], keys: tuple[str, str]) -> str | None:
    better, worse = (row[key] for key in keys)
    for key, answer in zip(keys, (better, worse), strict=True):
        is_text = isinstance(answer, str) and keys != _OPENAI
        if is_text and not answer.strip():
            return f"{key} must be a text that is not empty"
        reason = None if is_text else messages_problem(answer, where=key)
        if reason is not None:
            return reason
    if type(better) is not type(worse):
        return f"{keys[0]} and {keys[1]} must both be texts, or both lists of messages"
    return f"{keys[0]} and {keys[1]} are the same, so neither is better" if better == worse else None


def _size(part: Any) -> tuple[int, int]:
    return messages_size(part) if isinstance(part, list) else (1 if part else 0, len(part))
