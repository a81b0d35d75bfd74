"""What a chat request may say, and what each thing that it may not say is called."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arkor.backend.inference.constraints import Constraint, read_constraint
from arkor.backend.inference.messages import add_to_system, fold_tool_turns, normalise
from arkor.backend.inference.request import (
    CHAT_FIELDS,
    COMPLETION_FIELDS,
    MAX_PROMPT_CHARS,
    ChatRequest,
    read_completion,
    read_request,
    spelled,
)
from arkor.backend.inference.tools import call_grammar, read_call, read_tools
from arkor.serving.refusal import Refusal

ASK = [{"role": "user", "content": "?"}]
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED = {**OPEN, "additionalProperties": False}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": CLOSED}}
TIME = {"type": "function", "function": {"name": "time"}}


def read(**fields: Any) -> ChatRequest:
    return read_request(spelled({"messages": ASK, **fields}, CHAT_FIELDS))


def refused(**fields: Any) -> str:
    with pytest.raises(Refusal) as caught:
        read(**fields)
    assert caught.value.status == 400
    return caught.value.error


def test_the_defaults_are_those_of_chat_completions() -> None:
    """Temperature 1, all of the probability; the length alone is ours."""
    request = read()
    assert (request.temperature, request.top_p, request.max_tokens, request.seed) == (1.0, 1.0, 512, None)
    assert (request.tools, request.constraint) == (None, None)


def complete(**fields: Any) -> ChatRequest:
    return read_completion(spelled(fields, COMPLETION_FIELDS))


def test_a_prompt_is_taken_as_it_is() -> None:
    """With its blanks; what asks for nothing is passed over, as in a chat."""
    request = complete(prompt=" a\n", max_tokens=3, echo=False, best_of=1, suffix=None)
    assert (request.prompt, request.max_tokens, request.messages) == (" a\n", 3, [])
    assert complete(prompt="", responseFormat={"type": "json_object"}).constraint is not None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "prompt: must be one text, not None."),
        ({"prompt": ["a", "b"]}, "prompt: must be one text, not ['a', 'b']."),
        ({"prompt": "a" * (MAX_PROMPT_CHARS + 1)}, "prompt: has 1000001 characters, and at most 1000000 are taken."),
        ({"prompt": "a", "messages": ASK}, "messages: this backend cannot do that; leave it out."),
        ({"prompt": "a", "tools": [TIME]}, "tools: this backend cannot do that; leave it out."),
        ({"prompt": "a", "echo": 1}, "echo: must be true or false, not 1."),
        ({"prompt": "a", "max_tokens": 0}, "maxTokens: must be a whole number, 1 or more, not 0."),
        ({"prompt": "a", "echo": True, "max_tokens": -1}, "maxTokens: must be a whole number, 0 or more, not -1."),
        ({"prompt": "a", "logprobs": 6}, "logprobs: must be a whole number, 0 to 5, not 6."),
        ({"prompt": "a", "logprobs": True}, "logprobs: must be a whole number, 0 to 5, not True."),
        ({"prompt": "a", "top_logprobs": 2}, "top_logprobs: this backend cannot do that; leave it out."),
        ({"prompt": "a", "n": 0}, "n: must be a whole number, 1 to 8, not 0."),
        ({"prompt": "a", "temperature": -1}, "temperature: must be a number, 0 or more, not -1."),
    ],
)
def test_a_completion_that_cannot_be_made_is_refused(fields: dict[str, Any], reason: str) -> None:
    """By the name of the field."""
    with pytest.raises(Refusal) as caught:
        complete(**fields)
    assert (caught.value.status, caught.value.error) == (400, reason)


@pytest.mark.parametrize(
    ("fields", "logprobs", "n", "echo"),
    [
        ({}, None, 1, False),
        ({"logprobs": False, "n": 1, "echo": False}, None, 1, False),
        ({"logprobs": 0, "n": 8}, 0, 8, False),
        ({"logprobs": 5, "echo": True, "max_tokens": 0}, 5, 1, True),
    ],
)
def test_a_completion_may_have_logprobs_choices_and_its_prompt(
    fields: dict[str, Any], logprobs: int | None, n: int, echo: bool
) -> None:
    """A number of likeliest tokens, of which none is one too."""
    request = complete(prompt="a", **fields)
    assert (request.logprobs, request.n, request.echo) == (logprobs, n, echo)


@pytest.mark.parametrize(
    ("fields", "logprobs"),
    [
        ({"logprobs": False, "top_logprobs": 0}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 20}, 20),
        ({"logprobs": True, "topLogprobs": 3}, 3),
    ],
)
def test_a_chat_may_have_logprobs(fields: dict[str, Any], logprobs: int | None) -> None:
    """And the likeliest tokens beside the chosen ones."""
    assert read(**fields).logprobs == logprobs


def test_both_spellings_and_nulls_are_understood() -> None:
    """What has no value is absent; what changes nothing is passed over."""
    snake = read(max_tokens=3, top_p=0.5, tool_choice=None, model="m", n=1, stop=[], frequency_penalty=0, user="u")
    assert snake == read(maxTokens=3, topP=0.5) == read(max_completion_tokens=3, top_p=0.5, logprobs=False)


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 3.0, 2**63, 2**64 - 1])
def test_a_seed_may_be_what_torch_takes(seed: float) -> None:
    """From the smallest to the largest."""
    import torch

    read_seed = read(seed=seed).seed
    assert read_seed == seed
    assert isinstance(read_seed, int)
    assert torch.Generator().manual_seed(read_seed) is not None


def test_a_request_survives_the_pipe() -> None:
    """As JSON, to the chat process."""
    for request in (
        read(),
        complete(prompt="a"),
        complete(prompt="a", stop=["b", "c"]),
        complete(prompt="a", logprobs=0, n=3, echo=True),
        read(tools=[WEATHER], toolChoice="required"),
        read(responseFormat={"type": "json_object"}),
    ):
        assert ChatRequest.from_line(json.loads(json.dumps(request.to_line()))) == request


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"temperature": -0.1}, "temperature: must be a number, 0 or more"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "topP: must be a number, above 0 and at most 1"),
        ({"topP": 1.1}, "topP"),
        ({"maxTokens": 0}, "maxTokens: must be a whole number, 1 or more"),
        ({"max_tokens": 1.5}, "maxTokens"),
        ({"max_tokens": 1, "maxTokens": 1}, "maxTokens: is given twice"),
        ({"seed": "x"}, "seed"),
        ({"seed": True}, "seed"),
        ({"seed": 1.5}, "seed"),
        (
            {"seed": 2**64},
            "seed: must be a whole number, -9223372036854775808 to 18446744073709551615, not 1844674",
        ),
        ({"seed": -(2**63) - 1}, "seed"),
        ({"max_tokens": 2**63}, "maxTokens: must be a whole number, 1 or more, not"),
        ({"n": 9}, "n: must be a whole number, 1 to 8, not 9."),
        ({"n": 1.5}, "n: must be a whole number, 1 to 8"),
        ({"logprobs": 1}, "logprobs: must be true or false, not 1."),
        ({"logprobs": True, "top_logprobs": 21}, "topLogprobs: must be a whole number, 0 to 20, not 21."),
        ({"top_logprobs": 2}, "topLogprobs: needs logprobs, with the value true."),
        ({"logprobs": False, "top_logprobs": 2}, "topLogprobs: needs logprobs, with the value true."),
        ({"echo": True}, "echo: this backend cannot do that; leave it out."),
        ({"stop": 3}, "stop: must be a text, or a list of up to 4, each with 1 to 1000 characters"),
        ({"stop": ["END", ""]}, "stop: must be a text"),
        ({"stop": ["END", 3]}, "stop: must be a text"),
        ({"stop": list("abcde")}, "stop: must be a text"),
        ({"stop": "a" * 1001}, "stop: must be a text"),
        ({"stop": "END", "structuredOutputs": {"regex": "a"}}, "stop cannot be combined with a constrained answer"),
        ({"stop": "END", "tools": [TIME], "toolChoice": "required"}, "stop cannot be combined with a constrained"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"surprise": 1}, "surprise"),
        ({"tools": [WEATHER], "responseFormat": {"type": "json_object"}}, "tools cannot be combined"),
    ],
)
def test_a_field_out_of_its_range_is_named(fields: dict[str, Any], reason: str) -> None:
    """With what it may be."""
    assert refused(**fields).startswith(reason)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (None, "messages: must be a list"),
        ([], "messages: must be a list with at least one"),
        (["hello"], "messages[0]: must be an object"),
        ([{"content": "x"}], "messages[0]: role must be one of system, developer, user, assistant, tool, not None"),
        ([*ASK, {"role": "robot", "content": "x"}], "messages[1]: role"),
        ([{"role": "user", "content": 5}], "messages[0].content: must be a list"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content: only parts of type text"),
        ([{"role": "assistant", "tool_calls": {"a": 1}}], "messages[0].tool_calls: must be a list"),
        ([{"role": "assistant", "tool_calls": [{"id": "1"}]}], "messages[0].tool_calls: each needs function.name"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
            "messages[0].tool_calls: the text of the arguments of f is not JSON",
        ),
    ],
)
def test_a_message_that_cannot_be_read_is_named(messages: Any, reason: str) -> None:
    """By its place."""
    assert refused(messages=messages).startswith(reason)


def test_messages_get_one_form() -> None:
    """Null and parts become text, developers the system, arguments objects; fields of others are dropped."""
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]
    assert normalise(
        [
            {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]},
            {"role": "user", "content": "hi", "name": "me"},
            {"role": "assistant", "content": None, "tool_calls": calls, "refusal": None},
            {"role": "tool", "tool_call_id": "c1", "content": "22"},
            {"role": "assistant", "content": None, "tool_calls": []},
        ]
    ) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{**calls[0], "function": {"name": "f", "arguments": {"x": 1}}}],
        },
        {"role": "tool", "content": "22", "tool_call_id": "c1", "name": "f"},
        {"role": "assistant", "content": ""},
    ]


def test_tool_turns_become_plain_turns() -> None:
    """For a template that has no place for them."""
    call = {"function": {"name": "f", "arguments": {"x": 1}}}
    turns = normalise(
        [
            *ASK,
            {"role": "assistant", "tool_calls": [{"id": "c", **call}]},
            {"role": "tool", "tool_call_id": "c", "content": "22"},
        ]
    )
    assert fold_tool_turns(turns)[1:] == [
        {"role": "assistant", "content": '{"name": "f", "arguments": {"x": 1}}'},
        {"role": "user", "content": "Result of f: 22"},
    ]


def test_a_text_is_added_to_the_system_message() -> None:
    """Which is made where there is none."""
    assert add_to_system(ASK, "T") == [{"role": "system", "content": "T"}, *ASK]
    system = {"role": "system", "content": "S"}
    assert add_to_system([system, *ASK], "T") == [{"role": "system", "content": "S\n\nT"}, *ASK]


@pytest.mark.parametrize(
    ("response_format", "structured_outputs", "expected"),
    [
        (None, None, None),
        ({"type": "text"}, None, None),
        ({"type": "text"}, {"regex": "a+"}, Constraint("regex", "a+")),
        ({"type": "json_object"}, None, Constraint("json_object", True)),
        ({"type": "json_schema", "json_schema": {"schema": OPEN}}, None, Constraint("json", OPEN)),
        ({"type": "json_schema", "json_schema": {"schema": CLOSED, "strict": True}}, None, Constraint("json", CLOSED)),
        (None, {"json": OPEN}, Constraint("json", OPEN)),
        (None, {"json": json.dumps(OPEN)}, Constraint("json", OPEN)),
        (None, {"choice": ["a", "b"], "regex": None}, Constraint("choice", ["a", "b"])),
        (None, {"grammar": 'start: "a"', "json_object": False}, Constraint("grammar", 'start: "a"')),
        (None, {"json_object": True}, Constraint("json_object", True)),
    ],
)
def test_a_constraint_is_read(response_format: Any, structured_outputs: Any, expected: Constraint | None) -> None:
    """From either field."""
    assert read_constraint(response_format, structured_outputs) == expected


@pytest.mark.parametrize(
    ("response_format", "structured_outputs", "reason"),
    [
        ("json", None, "responseFormat: type must be text, json_object or json_schema"),
        ({"type": "xml"}, None, "responseFormat: type"),
        ({"type": ["text"]}, None, "responseFormat: type"),
        ({"type": "json_schema"}, None, "responseFormat: type json_schema needs json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"schema": OPEN, "strict": True}}, None, "strict: true needs"),
        (None, "json", "structuredOutputs: must be an object"),
        (None, {}, "structuredOutputs: needs exactly one of json, regex, choice, grammar, json_object, not none"),
        (None, {"regex": "a", "choice": ["b"]}, "structuredOutputs: needs exactly one of"),
        (None, {"whitespace_pattern": "a", "regex": "b"}, "structuredOutputs: knows json, regex"),
        (None, {"json": "{"}, "structuredOutputs: json is a text that is not JSON"),
        (None, {"json": 5}, "structuredOutputs: json must be a JSON schema"),
        (None, {"regex": 5}, "structuredOutputs: regex must be a text"),
        (None, {"regex": ""}, "structuredOutputs: regex must be a text"),
        (None, {"grammar": ["a"]}, "structuredOutputs: grammar must be a text"),
        (None, {"choice": []}, "structuredOutputs: choice must be a list of texts"),
        (None, {"choice": ["a", ""]}, "structuredOutputs: choice must be a list of texts"),
        (None, {"json_object": {}}, "structuredOutputs: json_object must be true"),
        ({"type": "json_object"}, {"regex": "a"}, "structuredOutputs cannot be combined"),
        (None, {"choice": ["a"] * 1001}, "structuredOutputs: choice has 1001 texts with 1001 characters: at most 1000"),
        (None, {"choice": ["a" * 100_001]}, "structuredOutputs: choice has 1 texts with 100001 characters: at most"),
        (None, {"regex": "a" * 20_001}, "structuredOutputs: regex has 20001 characters: at most 20000"),
        (None, {"grammar": "a" * 20_001}, "structuredOutputs: grammar has 20001 characters: at most 20000"),
        (None, {"json": {"enum": ["a"] * 2000}}, "structuredOutputs: the schema has 2002 values in it: at most 2000"),
        (None, {"json": {"const": "a" * 100_000}}, "structuredOutputs: the schema has 100013 characters as JSON"),
        (None, {"json": "[" * 5000}, "structuredOutputs: json is a text that is nested more than 100 levels deep"),
        (None, {"json": '"\\ud83d"'}, "structuredOutputs: json is a text that holds half a character"),
        (None, {"a\nb": 1}, "structuredOutputs: knows json, regex, choice, grammar, json_object, not 'a\\nb'"),
        (
            {"type": "json_schema", "json_schema": {"schema": {"enum": ["a"] * 2000}}},
            None,
            "responseFormat: the schema has 2002 values in it: at most 2000",
        ),
    ],
)
def test_a_constraint_that_is_none_is_named(response_format: Any, structured_outputs: Any, reason: str) -> None:
    """With what is wrong about it."""
    with pytest.raises(Refusal) as caught:
        read_constraint(response_format, structured_outputs)
    assert (caught.value.status, caught.value.error.startswith(reason)) == (400, True), caught.value.error


@pytest.mark.parametrize("choice", [None, "auto"])
def test_tools_are_offered(choice: Any) -> None:
    """The model may call them; a function without parameters takes none."""
    tools = read_tools([WEATHER, TIME], choice)
    assert tools is not None
    assert tools.choice == "auto"
    assert [function["name"] for function in tools.functions] == ["weather", "time"]
    assert tools.functions[1]["parameters"]["additionalProperties"] is False


def test_a_choice_decides() -> None:
    """One function, any, or none."""
    named = read_tools([WEATHER, TIME], {"type": "function", "function": {"name": "time"}})
    assert named is not None
    assert (named.choice, [function["name"] for function in named.functions]) == ("required", ["time"])
    required = read_tools([WEATHER, TIME], "required")
    assert required is not None
    assert (required.choice, len(required.functions)) == ("required", 2)
    seen = read_tools([WEATHER, TIME], "none")
    assert seen is not None
    assert (seen.choice, len(seen.functions)) == ("none", 2)
    assert read_tools([], "none") is None
    assert read_tools([], "auto") is None


@pytest.mark.parametrize(
    ("tools", "choice", "reason"),
    [
        (None, "required", "toolChoice: asks for a call, and there are no tools"),
        ("weather", None, "tools: must be a list"),
        ([{"type": "retrieval"}], None, "tools[0]: must be"),
        ([{"function": {"name": "a b"}}], None, "tools[0]: its name must be"),
        ([{"function": {"name": "a", "parameters": []}}], None, "tools[0]: its parameters must be a JSON schema"),
        ([{"function": {"name": "a", "parameters": OPEN, "strict": True}}], None, "strict: true needs"),
        ([TIME, TIME], None, "tools: time is there twice"),
        ([TIME], "always", "toolChoice: must be none, auto, required or name a function"),
        ([TIME], {"function": {"name": "weather"}}, "toolChoice: there is no tool 'weather'"),
    ],
)
def test_tools_that_cannot_be_read_are_named(tools: Any, choice: Any, reason: str) -> None:
    """With what is wrong about them."""
    with pytest.raises(Refusal) as caught:
        read_tools(tools, choice)
    assert (caught.value.status, caught.value.error.startswith(reason)) == (400, True), caught.value.error


def test_a_constrained_answer_may_see_tools_that_it_cannot_call() -> None:
    """As training shows them; the constraint holds for the text."""
    request = read(tools=[WEATHER], toolChoice="none", responseFormat={"type": "json_object"})
    assert request.tools is not None
    assert request.constraint is not None


def test_a_call_is_read_back() -> None:
    """Its arguments are JSON text again; what is no call is none."""
    assert read_call('{"name": "f", "arguments": {"x": "é"}}') == {"name": "f", "arguments": '{"x": "é"}'}
    deep = '{"name": "f", "arguments": ' + "[" * 2000 + "]" * 2000 + "}"
    for text in ("", "{", "[]", '{"arguments": {}}', '{"name": 5}', deep):
        assert read_call(text) is None


def test_a_call_has_a_grammar() -> None:
    """One alternative a function, between marks where the model writes them."""
    tools = read_tools([WEATHER, TIME], "required")
    assert tools is not None
    plain, tagged = call_grammar(tools, tagged=False), call_grammar(tools, tagged=True)
    assert plain.splitlines()[0] == "start: (call_0 | call_1)"
    assert tagged.splitlines()[0] == r'start: "<tool_call>\n" (call_0 | call_1) "\n</tool_call>"'
    assert plain.splitlines()[1].startswith(r'call_0: "{\"name\": \"weather\", \"arguments\": " %json {')


def test_a_conversation_that_nobody_reads_is_refused() -> None:
    """By how many messages, or by how much they say with the tools beside them; the limit is named."""
    assert "at most 2000" in refused(messages=ASK * 2001)
    assert "at most 1000000" in refused(messages=[{"role": "user", "content": "x" * 1_000_000}])
    described = {"type": "function", "function": {"name": "f", "description": "x" * 1_000_000}}
    assert "at most 1000000" in refused(tools=[described])
    assert read(messages=[{"role": "user", "content": "é" * 900_000}])


def test_tools_have_limits_too() -> None:
    """How many there are, and how large their parameters are together."""
    tools = [{"type": "function", "function": {"name": f"f{number}"}} for number in range(129)]
    assert read(tools=tools[:128])
    assert refused(tools=tools) == "tools: 129 are given, and at most 128 are taken."
    large = {"type": "function", "function": {"name": "g", "parameters": {"enum": ["a"] * 2000}}}
    assert refused(tools=[large]).startswith("tools[0]: the schema of its parameters has 2002 values")
    half = {"type": "function", "function": {"parameters": {"enum": ["a"] * 1200}}}
    halves = [{**half, "function": {**half["function"], "name": name}} for name in "gh"]  # type: ignore[dict-item]
    assert refused(tools=halves).startswith("tools: the list of their schemas has 2405 values")
