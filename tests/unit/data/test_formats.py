"""Why a row cannot be trained on, and how much it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from arkor.data.formats import FORMATS, name_list, row_format, row_problem, row_size

USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


def calling(**call: Any) -> dict[str, Any]:
    """Return a row whose assistant makes one call."""
    return {"messages": [USER, {"role": "assistant", "tool_calls": [call]}]}


LOOK_UP = {"name": "look_up", "arguments": {"id": 3}}
CALL = {"function": LOOK_UP}
FOUND = {"role": "tool", "tool_call_id": "call_1", "name": "look_up", "content": "found"}
GOOD: dict[str, list[dict[str, Any]]] = {
    "chatml": [
        {"messages": [USER, ASSISTANT]},
        {"messages": [{"role": "system", "content": "be kind"}, USER, ASSISTANT, USER, ASSISTANT]},
        {"messages": [USER, *calling(function=LOOK_UP)["messages"][1:], FOUND, ASSISTANT]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, ASSISTANT], "tools": []},
        {"messages": [USER, {"role": "tool", "content": "found", "tool_call_id": None}, ASSISTANT]},
        {"messages": [USER, {**ASSISTANT, "tool_calls": None}]},
        {"messages": [USER, {**ASSISTANT, "tool_calls": []}]},
        {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": ""}, ASSISTANT]},
        {"messages": [USER, {**ASSISTANT, "weight": 0}, {**USER, "weight": 0}, {**ASSISTANT, "weight": 1}]},
        {"messages": [USER, {**ASSISTANT, "thinking": "hm", "reasoning_content": "hm"}]},
        {"messages": [{**FOUND, "content": ""}, ASSISTANT]},
        calling(function={**LOOK_UP, "arguments": "{}"}, id="call_1", type="function"),
        calling(function={**LOOK_UP, "arguments": ' {"a": [1]}\n'}, id=None, type=None),
        {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [{"function": LOOK_UP}]}]},
        {"messages": [USER, {"role": "assistant", "content": [], "tool_calls": [{"function": LOOK_UP}]}]},
    ],
    "prompt_completion": [{"prompt": "a", "completion": "b"}, {"prompt": [USER], "completion": [ASSISTANT]}],
    "alpaca": [{"instruction": "a", "output": "b"}, {"instruction": "a", "input": "", "output": "b"}],
    "text": [{"text": "a", "source": "elsewhere"}],
}
BAD: list[tuple[Any, str]] = [
    (None, "is null, not an object"),
    (["text"], "is a list, not an object"),
    ("text", "is a text, not an object"),
    (3, "is a number, not an object"),
    (True, "is true or false, not an object"),
    ({}, "has none of messages; prompt and completion; instruction and output; text (its keys: none)"),
    ({"prompt": "a", "b": 1}, "text (its keys: b, prompt)"),
    ({"text": ""}, "text must not be empty"),
    ({"text": " \n"}, "text must not be empty"),
    ({"text": 3}, "text must not be empty"),
    ({"prompt": "", "completion": "b"}, "prompt must be a text that is not empty"),
    ({"prompt": "a", "completion": None}, "completion must be a text that is not empty"),
    ({"prompt": "a", "completion": [ASSISTANT]}, "prompt must be a list with at least one message"),
    ({"prompt": [USER], "completion": [USER]}, "completion has no assistant turn, so there is nothing to learn"),
    ({"prompt": [USER, 3], "completion": [ASSISTANT]}, "prompt, message 2: is a number, not an object with role"),
    ({"instruction": "", "output": "b"}, "instruction must be a text that is not empty"),
    ({"instruction": "a", "output": ["b"]}, "output must be a text that is not empty"),
    ({"instruction": "a", "input": 3, "output": "b"}, "input must be a text"),
    ({"messages": []}, "messages must be a list with at least one message"),
    ({"messages": {"0": USER}}, "messages must be a list with at least one message"),
    ({"messages": [USER]}, "messages has no assistant turn, so there is nothing to learn"),
    ({"messages": ["hi"]}, "messages, message 1: is a text, not an object with role and content"),
    ({"messages": [USER, {"role": "bot", "content": "hi"}]}, "messages, message 2: role must be one of assistant,"),
    ({"messages": [{"content": "hi"}]}, "role must be one of"),
    ({"messages": [{"role": ["user"], "content": "hi"}]}, "role must be one of"),
    ({"messages": [USER, {"role": "assistant"}]}, "messages, message 2: content is empty"),
    ({"messages": [USER, {"role": "assistant", "content": " "}]}, "messages, message 2: content is empty"),
    ({"messages": [USER, {"role": "assistant", "content": None}]}, "messages, message 2: content is empty"),
    ({"messages": [USER, {"role": "assistant", "content": 3}]}, "or a list of text parts, not a number"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}, ASSISTANT]}, "or a list of text parts"),
    ({"messages": [USER, {"role": "assistant", "content": [{"text": " "}]}]}, "message 2: content is empty"),
    ({"messages": [{"role": "user", "tool_calls": [CALL]}]}, "belong to the assistant, not to user"),
    ({"messages": [{**FOUND, "tool_calls": [CALL]}]}, "tool_calls belong to the assistant, not to tool"),
    ({"messages": [{**FOUND, "tool_call_id": 7}, ASSISTANT]}, "message 1: tool_call_id must be a text, not a number"),
    ({"messages": [{**FOUND, "name": ["x"]}, ASSISTANT]}, "messages, message 1: name must be a text, not a list"),
    ({"messages": [{"role": "assistant", "tool_calls": []}]}, "messages, message 1: content is empty"),
    ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "tool_calls must be a list of calls, not an object"),
    ({"messages": [USER, {**ASSISTANT, "weight": 0}]}, "no assistant turn of weight 1, so there is nothing to learn"),
    ({"messages": [USER, {**ASSISTANT, "weight": 0.5}]}, "messages, message 2: weight must be 0 or 1, not 0.5"),
    ({"messages": [USER, {**ASSISTANT, "weight": True}]}, "weight must be 0 or 1, not True"),
    ({"messages": [{**USER, "weight": 1}, ASSISTANT]}, "weight 1 belongs to the assistant, not to user"),
    ({"messages": [USER, ASSISTANT], "weight": 2}, "weight of a whole row is not understood"),
    ({"messages": [USER, {**ASSISTANT, "train": False}]}, "messages, message 2: train is not understood"),
    ({"messages": [USER, {**ASSISTANT, "train_detail": []}]}, "train_detail is not understood"),
    ({"messages": [USER, {**ASSISTANT, "thinking": 3}]}, "thinking must be a text, not a number"),
    ({"messages": [USER, {**ASSISTANT, "thinking": "a", "reasoning_content": "b"}]}, "are the same field, and differ"),
    ({"messages": [USER, {"role": "assistant", "content": None, "function_call": LOOK_UP}]}, "write tool_calls"),
    ({"messages": [USER, {"role": "function", "name": "look_up", "content": "found"}]}, "old form: write tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": ["x"]}]}, "tool call 1: needs a function with name and argu"),
    (calling(function="look_up"), "needs a function with name and arguments"),
    (calling(function={"name": "x"}), "needs a function with name and arguments"),
    (calling(function={"name": " ", "arguments": {}}), "needs a function with name and arguments"),
    (calling(function={**LOOK_UP, "arguments": None}), "arguments must be a JSON object, or a text that parses as one"),
    (calling(function={**LOOK_UP, "arguments": [1]}), "arguments must be a JSON object"),
    (calling(function={**LOOK_UP, "arguments": ""}), "arguments must be a JSON object"),
    (calling(function={**LOOK_UP, "arguments": "[1]"}), "arguments must be a JSON object"),
    (calling(function={**LOOK_UP, "arguments": "{'id': 3}"}), "arguments must be a JSON object"),
    (calling(function={**LOOK_UP, "arguments": '{"a":' * 99_999}), "arguments must be a JSON object"),
    (calling(function=LOOK_UP, id=7), "messages, message 2: tool call 1: id must be a text, not a number"),
    (calling(function=LOOK_UP, type=True), "tool call 1: type must be a text, not true or false"),
    (
        {"messages": [{"role": "assistant", "content": 3, "tool_calls": [{"function": LOOK_UP}]}]},
        "content must be text, or a list of text parts, not a number",
    ),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "role", "content", "text", "prompt", "completion", "tool_calls", "function"]),
            inner | st.sampled_from(["assistant", "tool"]),
        )
    ),
    max_leaves=10,
)


@pytest.mark.parametrize(("kind", "row"), [(kind, row) for kind, rows in GOOD.items() for row in rows])
def test_a_good_row_has_a_format_and_no_problem(kind: str, row: dict[str, Any]) -> None:
    """Detected by its keys; further keys do not matter."""
    assert row_format(row) == kind
    assert row_problem(row) is None


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_row_has_a_reason(row: Any, reason: str) -> None:
    """It says what is wrong, where in the row, and what it must be."""
    assert reason in (row_problem(row) or "")


@given(JSON)
def test_a_row_is_good_and_can_be_measured_or_there_is_a_reason(row: Any) -> None:
    """Whatever JSON it is; never an accident."""
    reason = row_problem(row)
    if reason is None:
        assert min(row_size(row, row_format(row) or "")) >= 0
    else:
        assert reason


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_agrees_with_itself(name: str) -> None:
    """Its required keys alone tell it, and a CSV file can give each of them and no key that does not count."""
    form = FORMATS[name]
    assert row_format(dict.fromkeys(form.required)) == name
    assert set(form.required) <= set(form.columns) <= {*form.required, *form.optional}
    assert row_problem({}) == (
        "has none of messages; prompt and completion; instruction and output; text (its keys: none)"
    )


@pytest.mark.parametrize(
    ("row", "size"),
    [
        ({"messages": [USER, ASSISTANT]}, (2, 7)),
        ({"messages": [{"role": "user", "content": [{"text": "hü"}, {"text": "!"}]}, ASSISTANT]}, (2, 8)),
        ({"messages": [USER, *calling(function=LOOK_UP)["messages"][1:], FOUND, ASSISTANT]}, (4, 12)),
        ({"prompt": "ab", "completion": "c"}, (2, 3)),
        ({"prompt": [USER, ASSISTANT, USER], "completion": [ASSISTANT]}, (4, 14)),
        ({"instruction": "ab", "output": "c"}, (2, 3)),
        ({"instruction": "ab", "input": "c", "output": "d"}, (2, 4)),
        ({"text": "größer", "source": "elsewhere"}, (0, 6)),
    ],
)
def test_a_row_is_measured_by_what_it_says(row: dict[str, Any], size: tuple[int, int]) -> None:
    """Its turns, and its characters without keys, roles and calls."""
    assert row_size(row, row_format(row) or "") == size


def test_a_reason_is_short_and_harmless_on_a_terminal() -> None:
    """However many keys a row has, however long they are, and whatever is in them."""
    reason = row_problem({f"{number}" * 500: 1 for number in range(500)}) or ""
    assert len(reason) < 2_000
    assert reason.endswith(", …)")
    assert name_list(["\x1b[2J", "plain"]) == r"'\x1b[2J', plain"
    assert len(row_problem({"messages": [{"role": "u" * 10_000, "content": "hi"}]}) or "") < 200
