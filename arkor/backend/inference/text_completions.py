"""Answers in the form of OpenAI's completions: a text that goes on with a text.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from arkor.backend.inference.completions import DONE, KEEP_ALIVE, Completion, Event, check
from arkor.serving.refusal import Refusal


@attrs.frozen
class TextCompletion(Completion):
    """What all parts of one answer have in common.

    Attributes:
        id: the answer's.
    """

    id: str = attrs.field(factory=lambda: f"cmpl-{secrets.token_hex(12)}")

    def whole(self, events: Iterable[Event | None]) -> dict[str, Any]:
        """Return the JSON body of an answer that is sent at once.

        Raises:
            Refusal: it failed.
        """
        text, done = "", None
        for event in events:
            if event is not None:
                check(event)
                text += event.get("delta", "")
                done = event.get("done")
        if done is None:
            raise Refusal(499, "The client has left.")
        return {**self._body(_choice(text, done["finishReason"])), "usage": done["usage"]}

    def stream(self, events: Iterable[Event | None], *, with_usage: bool = True) -> Iterator[str]:
        """Yield the frames of an answer that is sent as it is made.

        Args:
            events: None where there was nothing for a while.
            with_usage: whether the token counts are told, in a chunk without a choice before the end.
        """
        for event in events:
            if event is None:
                yield KEEP_ALIVE
            elif "error" in event:
                yield _frame({"error": {"message": event["error"]["message"]}})
                return
            elif "delta" in event:
                yield _frame(self._body(_choice(event["delta"])))
            elif "done" in event:
                yield _frame(self._body(_choice("", event["done"]["finishReason"])))
                if with_usage:
                    yield _frame({**self._body(), "usage": event["done"]["usage"]})
                yield DONE

    def _body(self, *choices: dict[str, Any]) -> dict[str, Any]:
        return {**self._head("text_completion"), "choices": list(choices)}


def _choice(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _frame(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
