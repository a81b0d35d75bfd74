"""Special tokens in the text of messages: how to find them, and how to keep them text.

A tokenizer makes a special token of its text in any place: of the ``<|im_end|>`` that a chat template writes behind a
turn, and of one in what a user says.
"""

from __future__ import annotations

import json
import os.path
import re
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from arkor.errors import ConfigError

# Rows and conversations bring along the marks of reasoning and calls; some models have them as special tokens.
_LEFT_ALONE = re.compile(r"</?(?:think|tool_call|tool_response)>")


def special_texts(tokenizer: Any) -> list[str]:
    """Return the texts of a tokenizer's special tokens, the marks of reasoning and calls excepted.

    Args:
        tokenizer: of transformers.
    """
    added = tokenizer.added_tokens_decoder.values()
    return [token.content for token in added if token.special and not _LEFT_ALONE.fullmatch(token.content)]


def special_pattern(tokenizer: Any) -> re.Pattern[str]:
    """Return the pattern that finds those texts; of two that begin alike it finds the longer one, as tokenizers do."""
    return re.compile(_any_of(special_texts(tokenizer)) or r"(?!)")


def texts_in(value: Any) -> Iterator[str]:
    """Yield the texts in a JSON value, the keys of its objects included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts_in(key)
            yield from texts_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_in(item)


class EscapedTokenizer:
    """A tokenizer to which the special tokens of its chat template are special, and those in messages are text.

    It has its special tokens under secret names. A rendering has those names where the template writes a special token,
    and the usual text where a message has it. So one pass of the tokenizer gives the very tokens of either.

    Args:
        tokenizer: of transformers, backed by the library tokenizers.

    Raises:
        ConfigError: it is not, or its special tokens cannot be renamed.
    """

    def __init__(self, tokenizer: Any) -> None:
        secret = secrets.token_hex(8)  # no message can hold what begins so
        texts = special_texts(tokenizer)
        self._names = {text: f"<{secret}:{number}>" for number, text in enumerate(texts)}
        self._stand_ins = {text: f"({secret}:{number})" for number, text in enumerate(texts)}
        self._hidden = {stand_in: text for text, stand_in in self._stand_ins.items()}
        self._special = special_pattern(tokenizer)
        self._stand_in = re.compile(rf"\({secret}:\d+\)")
        self._render = tokenizer.apply_chat_template
        self.backend_tokenizer = _renamed(tokenizer, self._names)
        self.all_special_ids = tokenizer.all_special_ids
        self.chat_template = tokenizer.chat_template
        self.decode = tokenizer.decode

    def __call__(self, text: str, *, add_special_tokens: bool = False) -> dict[str, list[int]]:
        """Return the tokens of a rendering, or of a part of one."""
        return {"input_ids": self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}

    def apply_chat_template(self, turns: Any, *, tools: Any = None, **how: Any) -> str:
        """Render a conversation, with the template's special tokens under their secret names."""
        turns, tools = _mapped(turns, self._hide), _mapped(tools, self._hide)
        text = str(self._render(turns, tools=tools, **how))
        text = self._special.sub(lambda found: self._names[found[0]], text)
        return self._stand_in.sub(lambda found: self._hidden[found[0]], text)

    def _hide(self, text: str) -> str:
        return self._special.sub(lambda found: self._stand_ins[found[0]], text)


def _any_of(texts: Collection[str]) -> str:
    """Return the regular expression of some texts, which tries a common beginning once.

    Models have up to a thousand special tokens. Tried one by one, they take seconds for a long text of ``<|``.
    """
    alike: dict[str, list[str]] = {}
    for text in filter(None, texts):
        alike.setdefault(text[0], []).append(text)
    choices = []
    for group in alike.values():
        beginning = os.path.commonprefix(group)  # noqa: RUF071  # of texts, not of folders
        choices.append(re.escape(beginning) + _any_of([text[len(beginning) :] for text in group]))
    return f"(?:{'|'.join(choices)}){'?' * ('' in texts)}" if choices else ""


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with other texts."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_mapped(key, change): _mapped(item, change) for key, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list) else value


def _renamed(tokenizer: Any, names: Mapping[str, str]) -> Any:
    """Return the tokenizer of the library tokenizers behind one of transformers, with other names for some tokens."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is None:
        raise ConfigError("escape_special_tokens", "needs a model with a tokenizer of the library tokenizers")
    state = json.loads(inner.to_str())
    state |= {"post_processor": None, "padding": None, "truncation": None}
    for token in state["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model, words = state["model"], state["model"]["vocab"]
    if isinstance(words, dict):
        model["vocab"] = {names.get(word, word): number for word, number in words.items()}
    else:  # of Unigram
        model["vocab"] = [[names.get(word, word), score] for word, score in words]
    if "merges" in model:  # else text could still become one of them, letter by letter
        model["merges"] = [pair for pair in model["merges"] if names.keys().isdisjoint((*pair, "".join(pair)))]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    renamed = type(inner).from_str(json.dumps(state))
    if any(renamed.token_to_id(name) != inner.token_to_id(text) for text, name in names.items()):
        raise ConfigError("escape_special_tokens", "does not work with the tokenizer of this model")
    return renamed
