"""What the model of a job answered to the same prompts while it was trained, as the page gets it.

Protocol: docs/protocol.md, "The event stream": ``sample.made``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from arkor.protocol import wire
from arkor.protocol.events import LAST_EVENT_TYPES
from arkor.studio.redact import json_text

SAMPLE_MADE = "sample.made"
MOST_ANSWER_CHARS = 1024 * 1024
_OF_PROMPT = ("sample", "row", "prompt", "expected")
_OF_ANSWER = ("step", "sample", "answer", "exact", "truncated")

Events = Iterable[tuple["str | None", Mapping[str, Any]]]


class SampleLog:
    """The samples of one job: each prompt once, and its answers by step.

    Beyond ``MOST_ANSWER_CHARS`` the oldest answers go, but those of the first step stay.

    Attributes:
        lock: held by whoever changes the rest, or reports it.
        last_id: the id of the last event that was read.
        ended: whether that was the job's last.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last_id: str | None = None
        self.ended = False
        self._prompts: dict[int, dict[str, Any]] = {}
        self._steps: dict[int, dict[int, dict[str, Any]]] = {}  # answers by step, and by the number of their prompt
        self._chars = 0
        self._left_out = 0

    def extend(self, events: Events) -> None:
        """Take in the next events; of two answers to a prompt at a step the later one counts."""
        for event_id, body in events:
            self.last_id = event_id or None
            if body["type"] == SAMPLE_MADE:
                self._take(body)
            self.ended = body["type"] in LAST_EVENT_TYPES

    def report(self) -> str:
        """Return what the page is told, as JSON."""
        answers = [answer for _, found in sorted(self._steps.items()) for _, answer in sorted(found.items())]
        prompts = [prompt for _, prompt in sorted(self._prompts.items())]
        return json_text({"prompts": prompts, "answers": answers, "leftOutSteps": self._left_out})

    def _take(self, body: Mapping[str, Any]) -> None:
        step, number = (wire.whole_number(body.get(name)) for name in ("step", "sample"))
        if step is None or number is None:
            return
        self._prompts[number] = {name: body[name] for name in _OF_PROMPT if name in body}
        answer = {name: body[name] for name in _OF_ANSWER if name in body}
        found = self._steps.setdefault(step, {})
        self._chars += _chars(answer) - _chars(found.get(number, {}))
        found[number] = answer
        while self._chars > MOST_ANSWER_CHARS and len(self._steps) > 2:
            _, oldest, *_ = sorted(self._steps)
            self._chars -= sum(map(_chars, self._steps.pop(oldest).values()))
            self._left_out += 1


def _chars(answer: Mapping[str, Any]) -> int:
    return len(wire.text(answer.get("answer")))
