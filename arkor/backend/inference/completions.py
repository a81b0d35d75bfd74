"""Answers in the form of OpenAI's chat completions and completions.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from arkor.serving.refusal import Refusal

DONE = "data: [DONE]\n\n"
KEEP_ALIVE = ": still there\n\n"

Event = Mapping[str, Any]
"""What the chat process says about an answer, see ``arkor.backend.inference.pipes``."""


@attrs.frozen
class Completion:
    """An answer to a chat: what all its parts have in common, and the form that they have.

    Attributes:
        model: the name of the model that answers.
        id: the answer's.
        created: unix seconds.
    """

    model: str
    id: str = attrs.field(factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = attrs.field(factory=lambda: int(time.time()))

    _whole_kind: ClassVar[str] = "chat.completion"
    _chunk_kind: ClassVar[str] = "chat.completion.chunk"
    _opening: ClassVar[Sequence[Event]] = ({"opening": True},)

    def whole(self, events: Iterable[Event | None]) -> dict[str, Any]:
        """Return the JSON body of an answer that is sent at once.

        Raises:
            Refusal: it failed.
        """
        reasoning, text, calls, done = "", "", [], None
        for event in events:
            if event is None:
                continue
            check(event)
            reasoning += event.get("reasoning", "")
            text += event.get("delta", "")
            calls += event.get("toolCalls", [])
            done = event.get("done")
        if done is None:
            raise Refusal(499, "The client has left.")
        choice = _choice(self._said(text, reasoning, calls), done["finishReason"])
        return {**self._head(self._whole_kind), "choices": [choice], "usage": done["usage"]}

    def stream(self, events: Iterable[Event | None], *, with_usage: bool = True) -> Iterator[str]:
        """Yield the frames of an answer that is sent as it is made.

        Args:
            events: None where there was nothing for a while.
            with_usage: whether the token counts are told, in a chunk without a choice before the end.
        """
        for event in itertools.chain(self._opening, events):
            if event is None:
                yield KEEP_ALIVE
            elif "error" in event:
                yield _frame({"error": {"message": event["error"]["message"]}})
                return
            elif "done" in event:
                yield self._chunk(self._piece({}), event["done"]["finishReason"])
                if with_usage:
                    yield _frame({**self._head(self._chunk_kind), "choices": [], "usage": event["done"]["usage"]})
                yield DONE
            elif "accepted" not in event:
                yield self._chunk(self._piece(event))

    def _said(self, text: str, reasoning: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what a choice of a whole answer says."""
        message: dict[str, Any] = {"role": "assistant", "content": None if calls and not text else text}
        message |= {"reasoning_content": reasoning} if reasoning else {}
        return {"message": message | ({"tool_calls": calls} if calls else {})}

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

    def _chunk(self, said: Mapping[str, Any], finish_reason: str | None = None) -> str:
        return _frame({**self._head(self._chunk_kind), "choices": [_choice(said, finish_reason)]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


@attrs.frozen
class TextCompletion(Completion):
    """A text that goes on with another one, in the form of OpenAI's completions.

    Attributes:
        id: the answer's.
    """

    id: str = attrs.field(factory=lambda: f"cmpl-{secrets.token_hex(12)}")

    _whole_kind: ClassVar[str] = "text_completion"
    _chunk_kind: ClassVar[str] = "text_completion"
    _opening: ClassVar[Sequence[Event]] = ()

    def _said(self, text: str, reasoning: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        return {"text": text}

    def _piece(self, event: Event) -> dict[str, Any]:
        return {"text": event.get("delta", "")}


def _choice(said: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, **said, "logprobs": None, "finish_reason": finish_reason}


def _frame(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def check(event: Event) -> None:
    """Raise where an answer failed.

    Raises:
        Refusal: with the status and the text that the chat process gave.
    """
    if "error" in event:
        raise Refusal(event["error"]["status"], event["error"]["message"])
