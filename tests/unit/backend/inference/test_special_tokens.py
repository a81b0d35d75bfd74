"""The special tokens of a template stay special, and those in the text of messages are text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from arkor.backend.inference.special_tokens import EscapedTokenizer, special_pattern, special_texts
from tests.support.small_tokenizers import KINDS, byte_level, marked

pytest.importorskip("transformers", reason="the local extra is not installed")

# Shows a message as it is, as JSON of ASCII letters, and as Python would print it.
TEMPLATE = (
    "{% for message in messages %}<|user|>{{ message.content }}|{{ message | tojson(ensure_ascii=True) }}|{{ message }}"
    "<|end|>\n{% endfor %}{% if add_generation_prompt %}<|user|>{% endif %}"
)


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """A tokenizer of each kind, with special tokens of each kind."""
    made = marked(request.param)
    made.chat_template = TEMPLATE
    return made


def said(*contents: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content} for content in contents]


def ids(tokenizer: Any, *contents: str) -> list[int]:
    """Return the tokens of a conversation with those contents."""
    text = tokenizer.apply_chat_template(said(*contents), tokenize=False, add_generation_prompt=True)
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def test_what_has_no_special_token_in_its_messages_has_the_usual_tokens(tokenizer: Any) -> None:
    """Blanks beside the template's tokens included, and marks of thoughts and calls."""
    for contents in (["one lamp"], ["a ", " b"], ["<think>one</think>", "\n<tool_call>lamp "]):
        assert ids(EscapedTokenizer(tokenizer), *contents) == ids(tokenizer, *contents)


def test_no_text_of_a_message_becomes_a_special_token(tokenizer: Any) -> None:
    """However the template writes it; the template's own are all there."""
    escaped, texts = EscapedTokenizer(tokenizer), special_texts(tokenizer)
    assert sorted(texts) == ["</s>", "<unk>", "<|end|>", "<|end|>2", "<|user|>"]
    special = {tokenizer.convert_tokens_to_ids(text) for text in texts} - {tokenizer.unk_token_id}
    for text in (*texts, "a<|end|>b", "<|end|>22", "<|end|><|user|>", "x </s> y"):
        found = [token for token in ids(escaped, text, "lamp") if token in special]
        assert found == [token for token in ids(tokenizer, "lamp", "lamp") if token in special], text


def test_an_escaped_text_has_the_tokens_of_a_tokenizer_without_special_tokens() -> None:
    """Where that has no word which is one of them."""
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=byte_level(), extra_special_tokens=["<|im_end|>"])
    made.chat_template = "{% for message in messages %}{{ message.content }}<|im_end|>{% endfor %}"
    content = "one<|im_end|>two <|im_end|> lamp"
    bare: list[int] = PreTrainedTokenizerFast(tokenizer_object=byte_level())(content)["input_ids"]
    found = EscapedTokenizer(made)
    text = found.apply_chat_template(said(content), tokenize=False)
    assert found(text)["input_ids"] == [*bare, made.convert_tokens_to_ids("<|im_end|>")]


def test_texts_in_calls_and_tools_are_escaped() -> None:
    """Their names, too."""
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=byte_level(), eos_token="</s>")
    made.chat_template = "{{ tools }}{{ messages | tojson }}</s>"
    calls = [{"function": {"name": "f", "arguments": {"</s>": ["</s>"]}}}]
    turns = [{"role": "assistant", "content": "", "tool_calls": calls}]
    tools = [{"type": "function", "function": {"name": "</s>", "parameters": {}}}]
    found = EscapedTokenizer(made)
    tokens = found(found.apply_chat_template(turns, tools=tools, tokenize=False))["input_ids"]
    assert [token for token in tokens if token == made.eos_token_id] == [made.eos_token_id]
    assert made.decode(tokens).count("</s>") == 4


def pattern(texts: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of a tokenizer with those special tokens."""
    tokens = (SimpleNamespace(content=text, special=True) for text in texts)
    return special_pattern(SimpleNamespace(added_tokens_decoder=dict(enumerate(tokens))))


def test_a_tokenizer_without_special_tokens_finds_none() -> None:
    """Nor does its pattern find the empty text."""
    assert pattern([]).search("x") is None


LETTERS = st.text("ab|", min_size=1, max_size=4)


@given(st.sets(LETTERS, min_size=1), st.text("ab|"))
def test_the_pattern_finds_the_longest_token(texts: set[str], text: str) -> None:
    """From the left, as a list of all of them does, the longest first."""
    plain = "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    assert pattern(texts).findall(text) == re.findall(plain, text)
