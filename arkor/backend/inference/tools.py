"""Functions that a model may call: what the request says of them, and the calls in what the model wrote.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from arkor.backend.inference.constraints import check_size, check_strict
from arkor.protocol.json_rules import JsonError, read_json
from arkor.serving.refusal import Refusal

MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CHOICES = ("none", "auto", "required")
# How the models of the Hermes family, Qwen among them, write a call.
CALL_OPENS, CALL_ENDS = "<tool_call>", "</tool_call>"


@attrs.frozen
class Tools:
    """The functions that the model is offered.

    Attributes:
        functions: each with ``name``, ``description`` and ``parameters``, a JSON schema; at least one.
        choice: ``auto``, the model may call one of them; ``required``, it has to; ``none``, it only sees them.
    """

    functions: list[dict[str, Any]]
    choice: str

    @property
    def wire(self) -> list[dict[str, Any]]:
        """The functions in chat completions form, as templates take them."""
        return [{"type": "function", "function": function} for function in self.functions]


def read_tools(tools: Any, choice: Any) -> Tools | None:
    """Read ``tools`` and ``toolChoice``; None if there are no tools.

    A choice that names a function offers that one alone.

    Raises:
        Refusal: 400, one of them is malformed, or the choice names a function that is not there.
    """
    functions = _functions(tools)
    if not functions:
        if choice not in (None, "none", "auto"):
            raise Refusal(400, "toolChoice: asks for a call, and there are no tools.")
        return None
    if isinstance(choice, Mapping):
        return Tools([_named(functions, choice)], "required")
    if choice not in (None, *_CHOICES):
        raise Refusal(400, f"toolChoice: must be {', '.join(_CHOICES)} or name a function, not {choice!r:.100}.")
    return Tools(functions, choice or "auto")


def instructions(tools: Tools) -> str:
    """Return what a model is told of its functions where its chat template cannot say it."""
    offered = "\n".join(json.dumps(function, ensure_ascii=False) for function in tools.functions)
    return (
        f"You can call these functions:\n{offered}\n"
        'Answer with one JSON object, {"name": <the function>, "arguments": {<its arguments>}}, and nothing else.'
    )


def call_grammar(tools: Tools, *, tagged: bool) -> str:
    """Return the Lark grammar of exactly one call.

    Args:
        tools: what may be called.
        tagged: whether the call stands between ``<tool_call>`` marks.
    """
    names = [f"call_{number}" for number in range(len(tools.functions))]
    opening, ending = (f"{json.dumps(CALL_OPENS + chr(10))} ", f" {json.dumps(chr(10) + CALL_ENDS)}")
    start = f"({' | '.join(names)})"
    rules = [f"start: {opening}{start}{ending}" if tagged else f"start: {start}"]
    for name, function in zip(names, tools.functions, strict=True):
        head = f'{{"name": {json.dumps(function["name"])}, "arguments": '
        rules.append(f'{name}: {json.dumps(head)} %json {json.dumps(function["parameters"])} "}}"')
    return "\n".join(rules) + "\n"


def read_call(text: str) -> dict[str, Any] | None:
    """Return the call that a text is, ``{"name", "arguments"}`` with the arguments as JSON text; None if it is none."""
    try:
        call = read_json(text)
    except JsonError:
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", {})
    return {"name": call["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}


def _functions(tools: Any) -> list[dict[str, Any]]:
    if tools is None:
        return []
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise Refusal(400, f"tools: must be a list, not {tools!r:.100}.")
    if len(tools) > MAX_TOOLS:
        raise Refusal(400, f"tools: {len(tools)} are given, and at most {MAX_TOOLS} are taken.")
    functions = [_function(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    names = [function["name"] for function in functions]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise Refusal(400, f"tools: {', '.join(repeated)} is there twice.")
    check_size([function["parameters"] for function in functions], "tools: the list of their schemas")
    return functions


def _function(tool: Any, where: str) -> dict[str, Any]:
    given = None
    if isinstance(tool, Mapping) and tool.get("type", "function") == "function":
        given = tool.get("function", tool)  # some write the function alone
    if not isinstance(given, Mapping):
        raise Refusal(400, f'{where}: must be {{"type": "function", "function": {{…}}}}.')
    name, parameters = given.get("name"), given.get("parameters")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refusal(400, f"{where}: its name must be 1 to 64 of letters, digits, _, . and -, not {name!r:.100}.")
    if parameters is None:
        parameters = {"type": "object", "properties": {}, "additionalProperties": False}
    if not isinstance(parameters, Mapping):
        raise Refusal(400, f"{where}: its parameters must be a JSON schema.")
    check_size(parameters, f"{where}: the schema of its parameters")
    if given.get("strict") is True:
        check_strict(parameters, f"{where}.parameters")
    if "properties" in parameters:  # an argument that the function does not name would be of no use to it
        parameters = {"additionalProperties": False, **parameters}
    return {"name": name, "description": str(given.get("description") or ""), "parameters": dict(parameters)}


def _named(functions: Sequence[dict[str, Any]], choice: Mapping[str, Any]) -> dict[str, Any]:
    function = choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    found = next((item for item in functions if item["name"] == name), None)
    if found is None:
        raise Refusal(400, f"toolChoice: there is no tool {name!r:.100}.")
    return found
