"""Answers in the form of OpenAI's chat completions.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from arkor.serving.refusal import Refusal

DONE = "data: [DONE]\n\n"
KEEP_ALIVE = ": still there\n\n"

Event = Mapping[str, Any]
"""What the chat process says about an answer, see ``arkor.backend.inference.pipes``."""


@attrs.frozen
class Completion:
    """What all parts of one answer have in common.

    Attributes:
        model: the name of the model that answers.
        id: the answer's.
        created: unix seconds.
    """

    model: str
    id: str = attrs.field(factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = attrs.field(factory=lambda: int(time.time()))

    def whole(self, events: Iterable[Event | None]) -> dict[str, Any]:
        """Return the JSON body of an answer that is sent at once.

        Raises:
            Refusal: it failed.
        """
        reasoning, content, calls, done = "", "", [], None
        for event in events:
            if event is None:
                continue
            check(event)
            reasoning += event.get("reasoning", "")
            content += event.get("delta", "")
            calls += event.get("toolCalls", [])
            done = event.get("done")
        if done is None:
            raise Refusal(499, "The client has left.")
        message: dict[str, Any] = {"role": "assistant", "content": None if calls and not content else content}
        message |= {"reasoning_content": reasoning} if reasoning else {}
        message |= {"tool_calls": calls} if calls else {}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done["finishReason"]}
        return {**self._head("chat.completion"), "choices": [choice], "usage": done["usage"]}

    def stream(self, events: Iterable[Event | None], *, with_usage: bool = True) -> Iterator[str]:
        """Yield the frames of an answer that is sent as it is made.

        Args:
            events: None where there was nothing for a while.
            with_usage: whether the token counts are told, in a chunk without a choice before the end.
        """
        yield self._frame({"role": "assistant", "content": ""})
        for event in events:
            if event is None:
                yield KEEP_ALIVE
            elif "error" in event:
                yield f"data: {json.dumps({'error': {'message': event['error']['message']}}, ensure_ascii=False)}\n\n"
                return
            elif "reasoning" in event:
                yield self._frame({"reasoning_content": event["reasoning"]})
            elif "delta" in event:
                yield self._frame({"content": event["delta"]})
            elif "toolCalls" in event:
                calls = [{"index": place, **call} for place, call in enumerate(event["toolCalls"])]
                yield self._frame({"tool_calls": calls})
            elif "done" in event:
                yield self._frame({}, event["done"]["finishReason"])
                if with_usage:
                    yield self._chunk([], usage=event["done"]["usage"])
                yield DONE

    def _frame(self, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        return self._chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}])

    def _chunk(self, choices: list[dict[str, Any]], **fields: Any) -> str:
        body = {**self._head("chat.completion.chunk"), "choices": choices, **fields}
        return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def check(event: Event) -> None:
    """Raise where an answer failed.

    Raises:
        Refusal: with the status and the text that the chat process gave.
    """
    if "error" in event:
        raise Refusal(event["error"]["status"], event["error"]["message"])
