"""The checks of a question to a model."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from arkor.client.chat import newer_options, question_body
from arkor.errors import ConfigError, UnknownOption
from arkor.protocol.jobs import AdapterRef

ADAPTER = AdapterRef("checkpoint", "job_1", 30)
MESSAGES = [{"role": "user", "content": "hi", "tool_call_id": "x"}]
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED: dict[str, Any] = {**OPEN, "additionalProperties": False}
DEEP: dict[str, Any] = {}
for _ in range(1800):
    DEEP = {"type": "object", "properties": {"a": DEEP}, "additionalProperties": False}


def schema(schema: Any, **more: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, **more}}}


def test_only_what_was_given_travels_and_contents_keep_their_keys() -> None:
    """Field names are the contract's; what belongs to chat completions is sent as it came."""
    options = {
        "messages": MESSAGES,
        "max_tokens": 5,
        "seed": 0,
        "tool_choice": None,
        "abort_event": threading.Event(),
        "timeout": 3,
    }
    assert question_body("chat", ADAPTER, None, options) == {
        "messages": MESSAGES,
        "adapter": {"kind": "checkpoint", "jobId": "job_1", "step": 30},
        "maxTokens": 5,
        "seed": 0,
        "stream": True,
    }
    assert question_body("chat", None, "m", {"messages": MESSAGES, "stream": False, **schema(CLOSED)}) == {
        "messages": MESSAGES,
        "baseModel": "m",
        "stream": False,
        "responseFormat": schema(CLOSED)["response_format"],
    }


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [*MESSAGES, {"role": "user", "content": "\ud83d"}]}, "messages"),
        ({"messages": MESSAGES, **schema(DEEP)}, "response_format"),
        ({"structured_outputs": {"json": DEEP}}, "structured_outputs"),
        ({"temperature": 10**5000}, "temperature"),
        ({"max_tokens": 10**5000}, "max_tokens"),
        ({"seed": 10**5000}, "seed"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": 1.5}, "seed"),
        ({"seed": True}, "seed"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        ({"seed": "4"}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": -(2**63) - 1}, "seed"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"json": {}, "regex": "a"}}, "structured_outputs"),
        ({"structured_outputs": {"yaml": {}}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a"}, **schema(CLOSED)}, "structured_outputs"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        (schema(OPEN, strict=True), "response_format"),
        (schema({**CLOSED, "properties": {"a": OPEN}}, strict=True), "response_format"),
        (schema({**CLOSED, "properties": {"a": {"type": "array", "items": OPEN}}}, strict=True), "response_format"),
        (schema({"anyOf": [CLOSED, OPEN]}, strict=True), "response_format"),
        (schema({**CLOSED, "required": []}, strict=True), "response_format"),
    ],
)
def test_a_question_that_contradicts_itself_is_named(options: dict[str, Any], field: str) -> None:
    """Before anything is sent, by the option's own name."""
    with pytest.raises(ConfigError) as caught:
        question_body("chat", ADAPTER, None, {"messages": MESSAGES, **options})
    assert caught.value.field == field


@pytest.mark.parametrize(
    "options",
    [
        schema(OPEN),
        schema(CLOSED, strict=True),
        schema({**CLOSED, "properties": {"a": {"enum": [{"properties": {}}]}}}, strict=True),
        {"structured_outputs": {"choice": ["a", "b"]}, "response_format": {"type": "text"}},
        {"temperature": 0, "top_p": 1},
        {"temperature": 1, "seed": 0},
        {"seed": -(2**63)},
        {"n": 8, "logprobs": True, "top_logprobs": 20},
        {"n": 1, "logprobs": False, "top_logprobs": 0},
        {"n": None, "logprobs": None, "top_logprobs": None},
        {"seed": 2**64 - 1},
    ],
)
def test_good_questions_pass(options: dict[str, Any]) -> None:
    """An open schema is fine where nothing strict was asked for; values of an enum are no schemas."""
    assert question_body("chat", ADAPTER, None, {"messages": MESSAGES, **options})


@pytest.mark.parametrize(
    ("options", "field", "reason"),
    [
        ({"logprobs": 6}, "logprobs", "must be a whole number from 0 to 5, not 6"),
        ({"logprobs": True}, "logprobs", "must be a whole number from 0 to 5, not True"),
        ({"echo": 1}, "echo", "must be True or False, not 1"),
        ({"max_tokens": 0}, "max_tokens", "must be a whole number, 1 or more, not 0"),
        ({"echo": True, "max_tokens": -1}, "max_tokens", "must be a whole number, 0 or more, not -1"),
    ],
)
def test_a_completion_that_contradicts_itself_is_named(options: dict[str, Any], field: str, reason: str) -> None:
    """With the value that was seen."""
    with pytest.raises(ConfigError, match=reason) as caught:
        question_body("completions", ADAPTER, None, {"prompt": "a", **options})
    assert caught.value.field == field


def test_a_prompt_alone_can_be_asked_for() -> None:
    """With its tokens: no answer is made then."""
    body = question_body("completions", None, "m", {"prompt": "a", "echo": True, "logprobs": 0, "max_tokens": 0})
    assert body == {"prompt": "a", "baseModel": "m", "stream": True, "echo": True, "logprobs": 0, "maxTokens": 0}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, []),
        ({"n": 1, "logprobs": False, "echo": False}, []),
        ({"n": None, "logprobs": None}, []),
        ({"logprobs": 0}, ["logprobs"]),
        ({"n": 2, "logprobs": True, "topLogprobs": 3}, ["logprobs", "topLogprobs", "n"]),
        ({"echo": True}, ["echo"]),
    ],
)
def test_the_options_of_newer_backends_are_known(body: dict[str, Any], names: list[str]) -> None:
    """Those that ask for something; the others go to any backend."""
    assert newer_options(body) == names


def test_the_message_with_half_a_character_is_named() -> None:
    """By its number, before anything is sent."""
    with pytest.raises(ConfigError, match=r"messages\[1\]\.content holds half a character"):
        question_body("chat", ADAPTER, None, {"messages": [*MESSAGES, {"role": "user", "content": "\ud83d"}]})


def test_one_who_answers_is_needed() -> None:
    """An adapter or a base model, not both and not neither."""
    for adapter, base_model in ((None, None), (ADAPTER, "m")):
        with pytest.raises(ConfigError, match="either an adapter or a base_model"):
            question_body("chat", adapter, base_model, {"messages": MESSAGES})


@pytest.mark.parametrize(("name", "meant"), [("temprature", "temperature"), ("maxTokens", "max_tokens")])
def test_a_misspelt_option_names_the_nearest(name: str, meant: str) -> None:
    """It is arkor's own error, and a TypeError as for any keyword argument."""
    with pytest.raises(UnknownOption, match=f"{name}: A chat has no such option; did you mean {meant}") as raised:
        question_body("chat", ADAPTER, None, {"messages": MESSAGES, name: 0})
    assert isinstance(raised.value, TypeError)
    with pytest.raises(UnknownOption, match="did you mean adapter"):
        question_body("chat", None, None, {"messages": MESSAGES, "adaptor": ADAPTER})


def test_a_question_without_messages_is_a_type_error() -> None:
    """As for any keyword argument that is missing."""
    with pytest.raises(TypeError, match="needs messages"):
        question_body("chat", ADAPTER, None, {})
