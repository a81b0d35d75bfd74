"""The answers to one question, from what arrives of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from arkor import ChatChoice, ChatDelta, TokenLogprob
from arkor.client.choices import read_logprobs

CHAT: dict[str, Any] = {
    "content": [
        {
            "token": "\\xc3",
            "logprob": -1,
            "bytes": [195],
            "top_logprobs": [{"token": "a", "logprob": -0.5, "bytes": [97]}],
        },
        {"token": "b", "logprob": -2.5, "bytes": None},
    ]
}
COMPLETION = {
    "tokens": ["a", " b"],
    "token_logprobs": [None, -1.5],
    "top_logprobs": [None, {" c": -0.5, " b": -1.5}],
    "text_offset": [0, 1],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_tokens_of_a_chat_are_read() -> None:
    """With their bytes and the likeliest ones; what the backend does not say is None or empty."""
    likeliest = (TokenLogprob("a", -0.5, b"a"),)
    assert read_logprobs(CHAT) == [TokenLogprob("\\xc3", -1, b"\xc3", likeliest), TokenLogprob("b", -2.5)]


def test_tokens_of_a_completion_are_read() -> None:
    """Into the same objects; lists that are too short lack the rest."""
    likeliest = (TokenLogprob(" c", -0.5), TokenLogprob(" b", -1.5))
    assert read_logprobs(COMPLETION) == [
        TokenLogprob("a", None, text_offset=0),
        TokenLogprob(" b", -1.5, None, likeliest, 1),
    ]
    assert read_logprobs({"tokens": ["a", "b"], "token_logprobs": [-1]}) == [
        TokenLogprob("a", -1),
        TokenLogprob("b", None),
    ]


@pytest.mark.parametrize("said", [None, {}, [], "x", {"content": None}, {"tokens": None}])
def test_what_has_no_tokens_gives_none(said: Any) -> None:
    """As the answers of a backend that was not asked for them."""
    assert read_logprobs(said) == []


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*CHAT, *COMPLETION), JSON)))
def test_anything_can_arrive(said: dict[str, Any]) -> None:
    """A backend's mistake is no failure of the client's."""
    for token in read_logprobs(said):
        assert isinstance(token.token, str)


def test_a_choice_grows_as_it_arrives() -> None:
    """Its text, its reasoning, its tokens and its end."""
    choice = ChatChoice(2)
    pieces = [
        *choice.take({"delta": {"role": "assistant", "content": ""}}),
        *choice.take({"delta": {"reasoning_content": "why"}, "logprobs": None}),
        *choice.take({"delta": {"content": "so"}, "logprobs": CHAT, "finish_reason": None}),
        *choice.take({"delta": {}, "finish_reason": "stop"}),
    ]
    tokens = read_logprobs(CHAT)
    assert pieces == [ChatDelta("", "why", 2), ChatDelta("so", "", 2, tuple(tokens))]
    assert (choice.text, choice.reasoning_content, choice.finish_reason) == ("so", "why", "stop")
    assert choice.logprobs == tokens
    assert ChatChoice().reasoning_content is None
