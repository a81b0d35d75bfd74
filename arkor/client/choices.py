"""The answers to one question, put together from what arrives of them.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from arkor.protocol import wire


@attrs.frozen
class TokenLogprob:
    """A token of an answer, and how likely the model found it.

    Attributes:
        token: its text.
        logprob: the natural logarithm of its probability; None for the first token of a prompt.
        bytes: those of its text, which may be part of a character; None if the backend does not say it.
        top_logprobs: the likeliest tokens in its place, likeliest first; empty if none were asked for.
        text_offset: how many characters of the text are before it; None if the backend does not say it.

    Example::

        for token in result.chat(messages=messages, logprobs=True).logprobs:
            print(f"{math.exp(token.logprob):.2f} {token.token!r}")
    """

    token: str
    logprob: float | None
    bytes: bytes | None = None
    top_logprobs: tuple[TokenLogprob, ...] = ()
    text_offset: int | None = None


@attrs.frozen
class ChatDelta:
    """A piece of an answer, as ``ChatResponse.deltas`` gives it.

    Attributes:
        content: a piece of the answer's text; may be empty.
        reasoning_content: a piece of the reasoning before it; may be empty.
        index: which of the answers, from 0 on.
        logprobs: the tokens of the piece of text, if they were asked for.
    """

    content: str = ""
    reasoning_content: str = ""
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@attrs.define
class ChatChoice:
    """One of the answers to a question, as ``ChatResponse.choices`` gives it. It grows while the answer arrives.

    Attributes:
        index: which one, from 0 on.
        finish_reason: why it ended: ``stop``, ``length`` or ``tool_calls``; None until then.
        tool_calls: the functions the model called, in chat completions form; complete at the end.
        logprobs: the tokens of its text, if they were asked for.

    Example::

        answers = result.chat(messages=messages, n=4).choices
        print([choice.text for choice in answers if choice.finish_reason == "stop"])
    """

    index: int = 0
    finish_reason: str | None = None
    tool_calls: list[dict[str, Any]] = attrs.Factory(list)
    logprobs: list[TokenLogprob] = attrs.Factory(list)
    _pieces: list[ChatDelta] = attrs.field(factory=list, init=False, repr=False)

    @property
    def text(self) -> str:
        """Its text, as far as it has arrived."""
        return "".join(piece.content for piece in self._pieces)

    @property
    def reasoning_content(self) -> str | None:
        """The model's reasoning before it, as far as it has arrived, or None."""
        return "".join(piece.reasoning_content for piece in self._pieces) or None

    def take(self, choice: Mapping[str, Any]) -> Iterator[ChatDelta]:
        """Take in a choice of a chunk, or of a whole body, and yield its piece if there is one.

        Args:
            choice: as the backend sent it.
        """
        self.finish_reason = wire.optional_text(choice.get("finish_reason")) or self.finish_reason
        said = wire.mapping(choice.get("delta") or choice.get("message"))
        self._take_tool_calls(said.get("tool_calls"))
        # A completion has its text in "text".
        text, reasoning = _text(choice.get("text") or said.get("content")), _text(said.get("reasoning_content"))
        tokens = read_logprobs(choice.get("logprobs"))
        self.logprobs += tokens
        if text or reasoning or tokens:
            piece = ChatDelta(text, reasoning, self.index, tuple(tokens))
            self._pieces.append(piece)
            yield piece

    def _take_tool_calls(self, calls: Any) -> None:
        """Put the pieces of streamed tool calls together: a name comes once, arguments bit by bit."""
        for call in calls if isinstance(calls, list) else []:
            place = wire.whole_number(call.get("index"))
            place = len(self.tool_calls) if place is None else place
            while len(self.tool_calls) <= place:
                self.tool_calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
            kept, function = self.tool_calls[place], wire.mapping(call.get("function"))
            kept["id"] = call.get("id") or kept["id"]
            kept["function"]["name"] += wire.text(function.get("name"))
            kept["function"]["arguments"] += wire.text(function.get("arguments"))


def read_logprobs(said: Any) -> list[TokenLogprob]:
    """Return the tokens of a choice's ``logprobs``, in the form of a chat or of a completion.

    Args:
        said: as the backend sent it; anything but the two forms has no tokens.
    """
    body = wire.mapping(said)
    if "tokens" in body:
        return _of_completion(body)
    return [_of_chat(token) for token in map(wire.mapping, _list(body.get("content")))]


def _of_chat(token: Mapping[str, Any]) -> TokenLogprob:
    top = tuple(_of_chat(one) for one in map(wire.mapping, _list(token.get("top_logprobs"))))
    return TokenLogprob(wire.text(token.get("token")), wire.number(token.get("logprob")), _bytes(token), top)


def _of_completion(body: Mapping[str, Any]) -> list[TokenLogprob]:
    names = _list(body["tokens"])
    logprobs, tops, offsets = (_as_long(body.get(key), names) for key in _COLUMNS)
    return [
        TokenLogprob(
            wire.text(name),
            wire.number(logprob),
            None,
            tuple(TokenLogprob(one, wire.number(value)) for one, value in wire.mapping(top).items()),
            wire.whole_number(offset),
        )
        for name, logprob, top, offset in zip(names, logprobs, tops, offsets, strict=True)
    ]


_COLUMNS = ("token_logprobs", "top_logprobs", "text_offset")


def _as_long(column: Any, names: Sequence[Any]) -> list[Any]:
    """Return a list with a value for each token, None where there is none."""
    return [*_list(column), *[None] * len(names)][: len(names)]


def _bytes(token: Mapping[str, Any]) -> bytes | None:
    values = token.get("bytes")
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 256 for value in values):
        return None
    return bytes(values)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
