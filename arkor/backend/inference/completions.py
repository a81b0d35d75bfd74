"""Answers in the form of OpenAI's chat completions and completions.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from arkor.backend.inference.logprobs import TokenLine, chat_logprobs, completion_logprobs
from arkor.serving.refusal import Refusal

DONE = "data: [DONE]\n\n"
KEEP_ALIVE = ": still there\n\n"

Event = Mapping[str, Any]
"""What the chat process says about an answer, see ``arkor.backend.inference.pipes``."""


@attrs.define
class _Gathered:
    """What was said of one choice."""

    reasoning: str = ""
    text: str = ""
    calls: list[dict[str, Any]] = attrs.Factory(list)
    tokens: list[TokenLine] = attrs.Factory(list)
    finish_reason: str | None = None

    def take(self, event: Event) -> None:
        self.reasoning += event.get("reasoning", "")
        self.text += event.get("delta", "")
        self.calls += event.get("toolCalls", [])
        self.tokens += event.get("logprobs", [])
        self.finish_reason = _finish_reason(event) or self.finish_reason


@attrs.frozen
class Completion:
    """An answer to a chat: what all its parts have in common, and the form that they have.

    Attributes:
        model: the name of the model that answers.
        id: the answer's.
        created: unix seconds.
        n: how many choices it has, at least 1.
        has_logprobs: whether log-probabilities are told.
    """

    model: str
    id: str = attrs.field(factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = attrs.field(factory=lambda: int(time.time()))
    n: int = attrs.field(default=1, kw_only=True)
    has_logprobs: bool = attrs.field(default=False, kw_only=True)

    _whole_kind: ClassVar[str] = "chat.completion"
    _chunk_kind: ClassVar[str] = "chat.completion.chunk"

    def whole(self, events: Iterable[Event | None]) -> dict[str, Any]:
        """Return the JSON body of an answer that is sent at once.

        Raises:
            Refusal: it failed.
        """
        gathered, usage = [_Gathered() for _ in range(self.n)], None
        head = self._head(self._whole_kind, {})
        for event in events:
            if event is None:
                continue
            check(event)
            head = self._head(self._whole_kind, event) if "accepted" in event else head
            gathered[event.get("index", 0)].take(event)
            usage = event["done"]["usage"] if "done" in event else usage
        if usage is None:
            raise Refusal(499, "The client has left.")
        choices = [self._whole_choice(index, choice) for index, choice in enumerate(gathered)]
        return {**head, "choices": choices, "usage": usage}

    def stream(self, events: Iterable[Event | None], *, with_usage: bool = True) -> Iterator[str]:
        """Yield the frames of an answer that is sent as it is made.

        Args:
            events: None where there was nothing for a while.
            with_usage: whether the token counts are told, in a chunk without a choice before the end.
        """
        head: dict[str, Any] | None = None
        for event in events:
            if event is None:
                yield KEEP_ALIVE
                continue
            if "error" in event:
                yield _frame({"error": {"message": event["error"]["message"]}})
                return
            if head is None:
                head = self._head(self._chunk_kind, event)
                for opening in self._openings():
                    yield self._chunk(head, opening)
            if "accepted" not in event:
                yield self._chunk(head, event)
            if "done" in event:
                if with_usage:
                    yield _frame({**head, "choices": [], "usage": event["done"]["usage"]})
                yield DONE

    def _openings(self) -> list[Event]:
        """Return what is said before anything is made."""
        return [{"index": index, "opening": True} for index in range(self.n)]

    def _said(self, choice: _Gathered) -> dict[str, Any]:
        """Return what a choice of a whole answer says."""
        content = None if choice.calls and not choice.text else choice.text
        message: dict[str, Any] = {"role": "assistant", "content": content}
        message |= {"reasoning_content": choice.reasoning} if choice.reasoning else {}
        return {"message": message | ({"tool_calls": choice.calls} if choice.calls else {})}

    def _piece(self, event: Event) -> dict[str, Any]:
        """Return what a choice of a chunk says."""
        if "opening" in event:
            return {"delta": {"role": "assistant", "content": ""}}
        if "reasoning" in event:
            return {"delta": {"reasoning_content": event["reasoning"]}}
        if "toolCalls" in event:
            return {
                "delta": {"tool_calls": [{"index": place, **call} for place, call in enumerate(event["toolCalls"])]}
            }
        return {"delta": {"content": event["delta"]} if "delta" in event else {}}

    def _logprobs(self, tokens: Sequence[TokenLine]) -> dict[str, Any]:
        """Return the log-probabilities of a choice's tokens."""
        return chat_logprobs(tokens)

    def _whole_choice(self, index: int, choice: _Gathered) -> dict[str, Any]:
        logprobs = self._logprobs(choice.tokens) if self.has_logprobs else None
        return _choice(index, self._said(choice), logprobs, choice.finish_reason)

    def _chunk(self, head: Mapping[str, Any], event: Event) -> str:
        logprobs = self._logprobs(event["logprobs"]) if "logprobs" in event else None
        choice = _choice(event.get("index", 0), self._piece(event), logprobs, _finish_reason(event))
        return _frame({**head, "choices": [choice]})

    def _head(self, kind: str, first: Event) -> dict[str, Any]:
        """Return what all parts have in common; the first event says who answers."""
        fingerprint = made_by(first)
        made = {"system_fingerprint": fingerprint} if fingerprint else {}
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, **made}


@attrs.frozen
class TextCompletion(Completion):
    """A text that goes on with another one, in the form of OpenAI's completions.

    Attributes:
        id: the answer's.
    """

    id: str = attrs.field(factory=lambda: f"cmpl-{secrets.token_hex(12)}")

    _whole_kind: ClassVar[str] = "text_completion"
    _chunk_kind: ClassVar[str] = "text_completion"

    def _openings(self) -> list[Event]:
        return []

    def _said(self, choice: _Gathered) -> dict[str, Any]:
        return {"text": choice.text}

    def _piece(self, event: Event) -> dict[str, Any]:
        return {"text": event.get("delta", "")}

    def _logprobs(self, tokens: Sequence[TokenLine]) -> dict[str, Any]:
        return completion_logprobs(tokens)


def _choice(
    index: int, said: Mapping[str, Any], logprobs: Mapping[str, Any] | None, finish_reason: str | None
) -> dict[str, Any]:
    return {"index": index, **said, "logprobs": logprobs, "finish_reason": finish_reason}


def _finish_reason(event: Event) -> str | None:
    """Return why a choice ended, if this is its end."""
    reason: str | None = (event.get("ended") or event.get("done") or {}).get("finishReason")
    return reason


def _frame(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def check(event: Event) -> None:
    """Raise where an answer failed.

    Raises:
        Refusal: with the status and the text that the chat process gave.
    """
    if "error" in event:
        raise Refusal(event["error"]["status"], event["error"]["message"])


def made_by(event: Event) -> str | None:
    """Return who answers and in which number type, such as ``llama.cpp-bf16``; None where an event does not say it."""
    accepted = event.get("accepted", {})
    return f"{accepted['engine']}-{accepted['dtype']}" if "engine" in accepted else None
