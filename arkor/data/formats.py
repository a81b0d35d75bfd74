"""The formats of a row, and why a row cannot be trained on.

Protocol: docs/protocol.md, "Jobs": the rows under "The config object".
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from arkor.protocol.checks import Json


@attrs.frozen(kw_only=True)
class RowFormat:
    """The keys of one format.

    Attributes:
        required: the keys that each row has; the format is detected by them.
        optional: the other keys that count. All further ones are dropped.
        refused: keys that ask for what is not done: a row that has one cannot be trained on.
        checked: keys that the model does not see, but that say something of the row that is checked.
        columns: the keys that a CSV file can give, in the order of the row that it becomes.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    columns: tuple[str, ...]


# In the order in which a row is tried. Messages are ``{"role", "content"}``; prompt and completion are both texts, or
# both lists of messages.
FORMATS = {
    "chatml": RowFormat(
        required=("messages",),
        optional=("tools",),
        refused=("weight",),
        checked=("parallel_tool_calls",),
        columns=("messages", "tools"),
    ),
    "prompt_completion": RowFormat(
        required=("prompt", "completion"), optional=("tools",), columns=("prompt", "completion")
    ),
    "alpaca": RowFormat(
        required=("instruction", "output"), optional=("input",), columns=("instruction", "input", "output")
    ),
    "text": RowFormat(required=("text",), columns=("text",)),
}
# Rows that say which of two answers is better: the two answers, in the two forms that there are.
PREFERENCE = "preference"
PREFERENCE_KEYS = (("chosen", "rejected"), ("preferred_output", "non_preferred_output"))
PREFERENCE_COLUMNS = ("prompt", "input", "tools", *(key for keys in PREFERENCE_KEYS for key in keys))
PREFERENCES_LATER = (
    "rows of preferences (two answers, one of them better), which arkor checks but cannot train on yet: make rows of "
    "prompt and completion with the better answer"
)
ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})
NO_FORMAT = f"has none of {'; '.join(' and '.join(one.required) for one in FORMATS.values())}"

_REQUIRED = tuple((name, frozenset(one.required)) for name, one in FORMATS.items())
_PREFERENCES = tuple(map(frozenset, PREFERENCE_KEYS))
_MOST_NAMES = 20
_LONGEST_NAME = 60
_CONTENT_FORM = "content must be text, or a list of text parts"
_REASONING = ("reasoning_content", "thinking")
_OTHER_WEIGHTS = ("train", "train_detail", "training", "training_detail")  # of axolotl
_OLD_CALLS = (
    'function_call and the role function are the old form: write tool_calls [{"id", "type": "function", "function"}], '
    "and the answer with the role tool and its tool_call_id"
)


def format_to_wire(given: Json | None) -> Json | None:
    """Return the ``datasetFormat`` of what a user gave: a name that is known becomes the mapping that says it."""
    return {"type": given} if isinstance(given, str) and given in FORMATS else given


def split_to_wire(given: Json | None) -> Json | None:
    """Return the ``datasetSplit`` of what a user gave, with the names of the wire."""
    if not isinstance(given, Mapping):
        return given
    return {"evalFraction" if key == "eval_fraction" else key: value for key, value in given.items()}


def row_format(row: Mapping[str, Any]) -> str | None:
    """Return the format a row's keys belong to, or None where they belong to none."""
    keys = row.keys()
    return next((name for name, required in _REQUIRED if required <= keys), None)


def is_preference(row: Mapping[str, Any]) -> bool:
    """Say whether a row has two answers, one of them better."""
    return any(keys <= row.keys() for keys in _PREFERENCES)


def row_problem(row: Any) -> str | None:
    """Say why a row cannot be trained on.

    Args:
        row: one row, as JSON gives it.

    Returns:
        The reason, or None for a good row.
    """
    if not isinstance(row, dict):
        return f"is {_kind(row)}, not an object"
    kind = row_format(row)
    if kind is None and is_preference(row):
        return f"is one of {PREFERENCES_LATER}"
    return f"{NO_FORMAT} (its keys: {name_list(sorted(row))})" if kind is None else _CHECKS[kind](row)


def row_size(row: Mapping[str, Any], kind: str) -> tuple[int, int]:
    """Measure a good row.

    Args:
        row: the row.
        kind: its format.

    Returns:
        (turns, characters): a ``text`` row has no turns, a question with its answer has two. The characters are those
        of what is said, without keys, roles and calls.
    """
    if kind == "chatml":
        return messages_size(row["messages"])
    if kind == "text":
        return 0, len(row["text"])
    if kind == "alpaca":
        return 2, len(row["instruction"]) + len(row.get("input", "")) + len(row["output"])
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list):
        return messages_size([*prompt, *completion])
    return 2, len(prompt) + len(completion)


def says_nothing(value: Any) -> bool:
    """Say whether a value holds nothing that could be learnt: it is null, a text of blanks, or an empty collection."""
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())


def name_list(names: Sequence[str]) -> str:
    """Return names for an error: not too many, and none that the terminal would take for a command."""
    shown = [name[:_LONGEST_NAME] if name.isprintable() else repr(name)[:_LONGEST_NAME] for name in names[:_MOST_NAMES]]
    return ", ".join([*shown, "…"] if len(names) > _MOST_NAMES else shown) or "none"


def messages_size(messages: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Return how many good messages there are, and the characters that they say."""
    characters = 0
    for message in messages:
        content = message.get("content") or ""
        characters += len(content) if isinstance(content, str) else sum(len(part["text"]) for part in content)
    return len(messages), characters


def _kind(value: Any) -> str:
    names = {"NoneType": "null", "str": "a text", "list": "a list", "bool": "true or false", "dict": "an object"}
    return names.get(type(value).__name__, "a number")


def _blank(value: Any) -> bool:
    return not isinstance(value, str) or not value or value.isspace()


def messages_problem(messages: Any, *, where: str = "messages", answered: bool = False) -> str | None:
    """Say why a list of messages cannot be trained on, or return None.

    Args:
        messages: the list.
        where: the key that it is under.
        answered: whether it needs no answer that is learnt.
    """
    if not isinstance(messages, list) or not messages:
        return f"{where} must be a list with at least one message"
    for number, message in enumerate(messages, start=1):
        reason = _message_problem(message)
        if reason is not None:
            return f"{where}, message {number}: {reason}"
        answered = answered or (message["role"] == "assistant" and message.get("weight") != 0)
    if answered:
        return None
    ignored = any(message["role"] == "assistant" for message in messages)
    return f"{where} has no assistant turn{' of weight 1' if ignored else ''}, so there is nothing to learn"


def _message_problem(message: Any) -> str | None:
    if not isinstance(message, dict):
        return f"is {_kind(message)}, not an object with role and content"
    role, calls = message.get("role"), message.get("tool_calls")
    if role == "function" or message.get("function_call") is not None:
        return _OLD_CALLS
    if not isinstance(role, str) or role not in ROLES:
        return f"role must be one of {', '.join(sorted(ROLES))}, not {reprlib.repr(role)}"
    reason = _weight_problem(message, role) or _reasoning_problem(message)
    if reason is not None:
        return reason
    if calls is not None and calls != []:
        return _calling_problem(message, role, calls)
    reason = _content_problem(message, may_be_empty=role != "assistant")
    return _not_a_text(message, ("tool_call_id", "name")) if reason is None and role == "tool" else reason


def _weight_problem(message: Mapping[str, Any], role: str) -> str | None:
    for key in _OTHER_WEIGHTS:
        if key in message:
            return f"{key} is not understood: leave it out, or say weight 0 or 1 for what is learnt"
    weight = message.get("weight")
    if weight is None or (not isinstance(weight, bool) and weight in (0, 1)):
        return f"weight 1 belongs to the assistant, not to {role}" if weight and role != "assistant" else None
    return f"weight must be 0 or 1, not {reprlib.repr(weight)}"


def _reasoning_problem(message: Mapping[str, Any]) -> str | None:
    given = [message[key] for key in _REASONING if message.get(key) is not None]
    if len(given) == len(_REASONING) and given[0] != given[1]:
        return f"{' and '.join(_REASONING)} are the same field, and differ here"
    return _not_a_text(message, _REASONING)


def _content_problem(message: Mapping[str, Any], *, may_be_empty: bool = False) -> str | None:
    content = message.get("content")
    if isinstance(content, str):
        return "content is empty" if not may_be_empty and _blank(content) else None
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        if not all(isinstance(part, str) for part in parts):
            return _CONTENT_FORM
        return None if may_be_empty or not all(map(_blank, parts)) else "content is empty"
    return "content is empty" if content is None else f"{_CONTENT_FORM}, not {_kind(content)}"


def _calling_problem(message: Mapping[str, Any], role: str, calls: Any) -> str | None:
    if role != "assistant":
        return f"tool_calls belong to the assistant, not to {role}"
    if not isinstance(calls, list):
        return f"tool_calls must be a list of calls, not {_kind(calls)}"
    for number, call in enumerate(calls, start=1):
        reason = _call_problem(call)
        if reason is not None:
            return f"tool call {number}: {reason}"
    content = message.get("content")  # beside calls it may be missing or empty
    if content is None or isinstance(content, str) or content == []:
        return None
    return _content_problem(message)


def _call_problem(call: Any) -> str | None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or _blank(function.get("name")) or "arguments" not in function:
        return "needs a function with name and arguments"
    arguments = function["arguments"]
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = None
    if not isinstance(arguments, dict):
        return "arguments must be a JSON object, or a text that parses as one"
    return _not_a_text(call, ("id", "type"))


def _not_a_text(item: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    wrong = next((key for key in keys if item.get(key) is not None and not isinstance(item[key], str)), None)
    return None if wrong is None else f"{wrong} must be a text, not {_kind(item[wrong])}"


def _chatml_problem(row: Mapping[str, Any]) -> str | None:
    if "weight" in row:
        return "weight of a whole row is not understood: leave it out, or give messages a weight of 0 or 1"
    reason = messages_problem(row["messages"])
    if reason is None and "tools" in row:
        reason = tools_problem(row["tools"])
    if reason is None and "parallel_tool_calls" in row:
        reason = _parallel_problem(row["parallel_tool_calls"], row["messages"])
    return reason


def tools_problem(tools: Any) -> str | None:
    """Say why ``tools`` of a row, a list or a JSON text, cannot be offered to a model, or return None."""
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            return "tools is a text that is not JSON"
    if tools is None or isinstance(tools, list):
        for number, tool in enumerate(tools or (), start=1):
            function = tool.get("function", tool) if isinstance(tool, dict) else None  # some write it alone
            if not isinstance(function, dict) or _blank(function.get("name")):
                return f"tools, tool {number}: needs a function with a name"
        return None
    return f"tools must be a list of functions, not {_kind(tools)}"


def _parallel_problem(parallel: Any, messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Say whether rows that promise one call at a time have several."""
    if parallel is not None and not isinstance(parallel, bool):
        return f"parallel_tool_calls must be true or false, not {_kind(parallel)}"
    many = next((place for place, one in enumerate(messages, 1) if len(one.get("tool_calls") or ()) > 1), None)
    if parallel is False and many is not None:
        return f"messages, message {many}: has several tool calls, but parallel_tool_calls is false"
    return None


def _prompt_completion_problem(row: Mapping[str, Any]) -> str | None:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) or isinstance(completion, list):
        reason = messages_problem(prompt, where="prompt", answered=True)
        reason = reason or messages_problem(completion, where="completion")
        return reason or tools_problem(row.get("tools"))
    if _blank(prompt) or _blank(completion):
        return f"{'prompt' if _blank(prompt) else 'completion'} must be a text that is not empty"
    return None


def _alpaca_problem(row: Mapping[str, Any]) -> str | None:
    for key in ("instruction", "output"):
        if _blank(row[key]):
            return f"{key} must be a text that is not empty"
    if not isinstance(row.get("input", ""), str):
        return "input must be a text"
    return None


def _text_problem(row: Mapping[str, Any]) -> str | None:
    return "text must not be empty" if _blank(row["text"]) else None


_CHECKS = {
    "chatml": _chatml_problem,
    "prompt_completion": _prompt_completion_problem,
    "alpaca": _alpaca_problem,
    "text": _text_problem,
}
