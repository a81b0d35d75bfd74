"""The messages of a chat, brought into one form that every chat template can be given.

Templates are written against the simplest form of a message: most raise on a content that is null or a list.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from arkor.data.formats import name_list
from arkor.protocol.json_rules import JsonError, read_json
from arkor.serving.refusal import Refusal

MAX_MESSAGES = 2000

Message = dict[str, Any]

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def normalise(messages: Any) -> list[Message]:
    """Check messages and return them with a text for content and decoded arguments of tool calls.

    Args:
        messages: in chat completions form: content may be null or a list of text parts.

    Returns:
        For each ``role`` (``system``, ``user``, ``assistant`` or ``tool``) and ``content``; for an assistant that
        reasoned before, the reasoning as ``reasoning_content`` and ``thinking``; ``tool_calls`` for one that called
        functions; ``tool_call_id`` and, where a call before it has that id, ``name`` for a
        tool's answer.

    Raises:
        Refusal: 400, it says which message and why.
    """
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages: must be a list with at least one message.")
    if len(messages) > MAX_MESSAGES:
        raise Refusal(400, f"messages: {len(messages)} are given, and at most {MAX_MESSAGES} are taken.")
    names: dict[str, str] = {}
    return [_message(item, f"messages[{number}]", names) for number, item in enumerate(messages)]


def fold_tool_turns(messages: Sequence[Message]) -> list[Message]:
    """Return messages without tool turns, for a template that has no place for them.

    Calls become the JSON that the assistant was made to write, answers a message of the user's.
    """
    return [_folded(message) for message in messages]


def add_to_system(messages: Sequence[Message], text: str) -> list[Message]:
    """Return messages with a text added to the system message, which is made where there is none."""
    first, rest = messages[0], list(messages[1:])
    if first["role"] != "system":
        return [{"role": "system", "content": text}, first, *rest]
    return [{**first, "content": f"{first['content']}\n\n{text}".strip()}, *rest]


def _message(item: Any, where: str, names: dict[str, str]) -> Message:
    if not isinstance(item, Mapping):
        raise Refusal(400, f"{where}: must be an object, not {item!r:.100}.")
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise Refusal(400, f"{where}: role must be one of {', '.join(_ROLES)}, not {role!r:.100}.")
    message: Message = {"role": _ROLES[role], "content": _content(item.get("content"), where)}
    reasoning = _reasoning(item, where) if role == "assistant" else ""
    if reasoning:
        message |= {"reasoning_content": reasoning, "thinking": reasoning}  # templates read one or the other
    if role == "assistant" and item.get("tool_calls"):
        message["tool_calls"] = [_call(call, where, names) for call in _list(item["tool_calls"], f"{where}.tool_calls")]
    if role == "tool":
        call_id = item.get("tool_call_id")
        named = item.get("name") or names.get(str(call_id))
        message |= {"tool_call_id": call_id} if call_id is not None else {}
        message |= {"name": named} if named else {}
    return message


def _content(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return "".join(_part(part, where) for part in _list(value, f"{where}.content"))


def _reasoning(item: Mapping[str, Any], where: str) -> str:
    given = {key: item[key] for key in ("reasoning_content", "thinking") if item.get(key) is not None}
    for key, value in given.items():
        if not isinstance(value, str):
            raise Refusal(400, f"{where}.{key}: must be a text, not {value!r:.100}.")
    if len(set(given.values())) > 1:
        raise Refusal(400, f"{where}: reasoning_content and thinking are the same field, and differ here.")
    return next(iter(given.values()), "")


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind != "text" or not isinstance(part.get("text"), str):
        raise Refusal(400, f"{where}.content: only parts of type text are understood, not {kind!r:.100}.")
    return str(part["text"])


def _call(call: Any, where: str, names: dict[str, str]) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
        raise Refusal(400, f"{where}.tool_calls: each needs function.name, a text.")
    arguments = function.get("arguments")
    try:
        arguments = read_json(arguments) if isinstance(arguments, str) and arguments else arguments or {}
    except JsonError as exc:
        called = name_list([name])
        raise Refusal(400, f"{where}.tool_calls: the text of the arguments of {called} {exc.reason}.") from None
    call_id = call.get("id")
    if call_id is not None:
        names[str(call_id)] = name
    kept = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return kept if call_id is None else {"id": call_id, **kept}


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Refusal(400, f"{where}: must be a list, not {value!r:.100}.")
    return value


def _folded(message: Message) -> Message:
    if message["role"] == "tool":
        source = f" of {message['name']}" if "name" in message else ""
        return {"role": "user", "content": f"Result{source}: {message['content']}"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    lines = [json.dumps(call["function"], ensure_ascii=False) for call in calls]
    return {"role": "assistant", "content": "\n".join([message["content"], *lines]).strip()}
