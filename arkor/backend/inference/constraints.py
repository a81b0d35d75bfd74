"""What an answer's text is held to, as the request says it.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from arkor.data.formats import name_list
from arkor.protocol.json_rules import JsonError, read_json
from arkor.protocol.strict_schemas import strict_fault
from arkor.serving.refusal import Refusal

MAX_CHOICES = 1000
MAX_TEXT_CHARS = 20_000  # of a regular expression or a grammar
MAX_SCHEMA_CHARS = 100_000  # as JSON; of all choices together too
MAX_SCHEMA_VALUES = 2000  # a schema itself is one, and so is everything in it

KINDS = ("json", "regex", "choice", "grammar", "json_object")
_STRUCTURED_FORMATS = frozenset({"json_object", "json_schema"})


@attrs.frozen
class Constraint:
    """The only texts that an answer may be.

    Attributes:
        kind: one of ``KINDS``.
        value: a JSON schema (an object, or true for any value), a regular expression, a list of texts, a grammar
            (Lark or GBNF), or true for ``json_object``.
    """

    kind: str
    value: Any


def read_constraint(response_format: Any, structured_outputs: Any) -> Constraint | None:
    """Read ``responseFormat`` and ``structuredOutputs``; None where the answer is free.

    Raises:
        Refusal: 400, one of them is malformed, or both constrain the answer.
    """
    formatted = _from_format(response_format)
    structured = _from_structured(structured_outputs)
    if formatted is not None and structured is not None:
        raise Refusal(400, "structuredOutputs cannot be combined with a responseFormat that constrains the answer.")
    return formatted or structured


def check_size(schema: Any, where: str) -> None:
    """Check that a JSON schema is small enough: making one ready keeps the other chats waiting.

    Args:
        schema: what JSON has.
        where: what the schema is called in the refusal.

    Raises:
        Refusal: 400, it is larger; the text has the limit.
    """
    characters, values = len(json.dumps(schema)), _count(schema)
    if characters > MAX_SCHEMA_CHARS:
        raise Refusal(400, f"{where} has {characters} characters as JSON: at most {MAX_SCHEMA_CHARS} are taken.")
    if values > MAX_SCHEMA_VALUES:
        raise Refusal(400, f"{where} has {values} values in it: at most {MAX_SCHEMA_VALUES} are taken.")


def _count(value: Any) -> int:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, inner))


def check_strict(schema: Any, where: str) -> None:
    """Check what ``strict: true`` asks of a JSON schema.

    Args:
        schema: the schema.
        where: what it is called in the refusal.

    Raises:
        Refusal: 400, it names the first object that is not strict.
    """
    fault = strict_fault(schema, where)
    if fault is not None:
        raise Refusal(400, f"{fault}.")


def _from_format(given: Any) -> Constraint | None:
    if given is None:
        return None
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind == "text":
        return None
    if not isinstance(kind, str) or kind not in _STRUCTURED_FORMATS:
        raise Refusal(400, f"responseFormat: type must be text, json_object or json_schema, not {kind!r:.100}.")
    if kind == "json_object":
        return Constraint("json_object", True)
    named = given.get("json_schema")
    schema = named.get("schema") if isinstance(named, Mapping) else None
    if not isinstance(schema, Mapping):
        raise Refusal(400, "responseFormat: type json_schema needs json_schema.schema, an object.")
    check_size(schema, "responseFormat: the schema")
    if named.get("strict") is True:
        check_strict(schema, "schema")
    return Constraint("json", dict(schema))


def _from_structured(given: Any) -> Constraint | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise Refusal(400, f"structuredOutputs: must be an object, not {given!r:.100}.")
    unknown = sorted(set(given) - set(KINDS))
    if unknown:
        raise Refusal(400, f"structuredOutputs: knows {', '.join(KINDS)}, not {name_list(unknown)}.")
    kinds = [kind for kind in KINDS if given.get(kind) is not None and given[kind] is not False]
    if len(kinds) != 1:
        raise Refusal(
            400, f"structuredOutputs: needs exactly one of {', '.join(KINDS)}, not {', '.join(kinds) or 'none'}."
        )
    kind = kinds[0]
    return Constraint(kind, _VALUES[kind](given[kind]))


def _schema(value: Any) -> Any:
    if isinstance(value, str):  # vLLM takes both
        try:
            value = read_json(value)
        except JsonError as exc:
            raise Refusal(400, f"structuredOutputs: json is a text that {exc.reason}.") from None
    if not isinstance(value, Mapping) and value is not True:
        raise Refusal(400, "structuredOutputs: json must be a JSON schema.")
    check_size(value, "structuredOutputs: the schema")
    return value


def _text(name: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise Refusal(400, f"structuredOutputs: {name} must be a text that is not empty.")
        if len(value) > MAX_TEXT_CHARS:
            raise Refusal(
                400, f"structuredOutputs: {name} has {len(value)} characters: at most {MAX_TEXT_CHARS} are taken."
            )
        return value

    return check


def _choice(value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise Refusal(400, "structuredOutputs: choice must be a list of texts, none of them empty.")
    characters = sum(map(len, value))
    if len(value) > MAX_CHOICES or characters > MAX_SCHEMA_CHARS:
        raise Refusal(
            400,
            f"structuredOutputs: choice has {len(value)} texts with {characters} characters: at most {MAX_CHOICES} "
            f"with {MAX_SCHEMA_CHARS} are taken.",
        )
    return value


def _true(value: Any) -> bool:
    if value is not True:
        raise Refusal(400, f"structuredOutputs: json_object must be true, not {value!r:.100}.")
    return True


_VALUES: dict[str, Callable[[Any], Any]] = {
    "json": _schema,
    "regex": _text("regex"),
    "choice": _choice,
    "grammar": _text("grammar"),
    "json_object": _true,
}
