"""A text that goes on has the tokens of the whole text."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from arkor.backend.inference.special_tokens import EscapedTokenizer
from arkor.backend.inference.text_tokens import TextTokens
from tests.support import chat_templates
from tests.support.small_tokenizers import KINDS, marked

pytest.importorskip("transformers", reason="the local extra is not installed")

PIECES = st.sampled_from(
    [*("<|user|>", "<|end|>", "<|end|>2", "</s>", "<unk>", "<think>", "<tool_call>", "<|en", "d|>", "2"),
     *("one", " lamp", "two", " ", "\n", "\u00e9\u2009", "\U0001f4a1")]
)  # fmt: skip
TEXTS = st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=2, max_size=5)
known = functools.cache(marked)


def check(tokenizer: Any, parts: list[str]) -> None:
    """Check that the text has the usual tokens after each of its parts."""
    tokens = TextTokens(tokenizer)
    for place in range(1, len(parts) + 1):
        text = "".join(parts[:place])
        assert tokens.of(text) == tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
@given(parts=TEXTS)
def test_a_text_that_goes_on_has_the_tokens_of_the_whole(kind: Callable[[], Any], parts: list[str]) -> None:
    """Wherever it is divided, in the middle of a special token too."""
    check(known(kind), parts)


@given(parts=TEXTS)
def test_with_escaped_special_tokens_too(parts: list[str]) -> None:
    """They have other names there."""
    check(EscapedTokenizer(known(KINDS[0])), parts)


@pytest.mark.parametrize("name", chat_templates.names())
def test_each_turn_of_a_conversation_has_the_tokens_of_the_whole(name: str) -> None:
    """With the marks of each model."""
    tokenizer = chat_templates.tokenizer(name)
    marks = sorted(token.content for token in tokenizer.added_tokens_decoder.values())
    check(tokenizer, [part for mark in marks for part in (mark, "user", "\n", "two  lamps ", mark, "\n")])


class Counting:
    """A tokenizer that notes what it is given."""

    def __init__(self, tokenizer: Any) -> None:
        self.backend_tokenizer = self
        self.given: list[str] = []
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> Any:
        return self._tokenizer(text)

    def get_added_tokens_decoder(self) -> Any:
        return self._tokenizer.backend_tokenizer.get_added_tokens_decoder()

    def encode_batch_fast(self, texts: list[str], **how: Any) -> Any:
        self.given += texts
        return self._tokenizer.backend_tokenizer.encode_batch_fast(texts, **how)


def test_only_what_is_new_is_tokenised() -> None:
    """From the last special token on."""
    counting = Counting(known(KINDS[0]))
    tokens = TextTokens(counting)
    for text in ("<|user|>one lamp<|end|>", "<|user|>one lamp<|end|><|user|>two", "<|user|>three"):
        tokens.of(text)
    assert counting.given == ["<|user|>one lamp<|end|>", "<|end|>", "<|end|><|user|>two", "<|user|>three"]


def test_a_tokenizer_of_another_library_is_asked_for_all() -> None:
    """It may divide a text in any way."""
    tokens = TextTokens(lambda text, **_: {"input_ids": [*map(ord, text)]})
    assert [tokens.of("ab"), tokens.of("abc")] == [[97, 98], [97, 98, 99]]
