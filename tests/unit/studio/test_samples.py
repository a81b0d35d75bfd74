"""What Studio keeps of a job's samples."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arkor.studio import history, samples
from arkor.studio.history import Histories
from arkor.studio.samples import SampleLog
from tests.support.events import completed, log

PROMPT = [{"role": "user", "content": "When?"}]


def sample(step: Any, number: Any, answer: str, **fields: Any) -> dict[str, Any]:
    """Return an event."""
    return {"type": "sample.made", "step": step, "sample": number, "prompt": PROMPT, "answer": answer, **fields}


def told(*events: dict[str, Any]) -> Any:
    """Return what the page is told of these events."""
    kept = SampleLog()
    kept.extend((str(number), event) for number, event in enumerate(events, 1))
    return json.loads(kept.report())


def test_each_prompt_is_told_once_and_each_answer_by_step() -> None:
    """In order; an attempt that answers again is the one that counts; odd events are passed over."""
    events = [
        *(sample(20, 1, "b"), sample(20, 0, "wrong"), log(20, 1.0), sample(0, 0, "base", row=3, expected="a")),
        *(sample(20, 0, "a", row=3, expected="a", exact=True), sample("x", 0, ""), sample(20, None, "")),
    ]
    found = told(*events)
    assert found["prompts"] == [
        {"sample": 0, "row": 3, "prompt": PROMPT, "expected": "a"},
        {"sample": 1, "prompt": PROMPT},
    ]
    assert found["answers"] == [
        {"step": 0, "sample": 0, "answer": "base"},
        {"step": 20, "sample": 0, "answer": "a", "exact": True},
        {"step": 20, "sample": 1, "answer": "b"},
    ]
    assert found["leftOutSteps"] == 0


def test_the_oldest_answers_go_but_those_of_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded; the page is told how many steps are missing."""
    monkeypatch.setattr(samples, "MOST_ANSWER_CHARS", 25)
    found = told(*(sample(step, 0, "x" * 10) for step in (0, 10, 20, 30)))
    assert [answer["step"] for answer in found["answers"]] == [0, 30]
    assert found["leftOutSteps"] == 2


def test_samples_are_read_once_and_then_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the last event; nothing is read after the job's end, and the jobs looked at longest ago are forgotten."""
    monkeypatch.setattr(history, "MOST_JOBS", 1)
    histories, events = Histories(), [sample(0, 0, "base"), log(1, 1.0)]
    asked: list[str | None] = []

    def after(event_id: str | None) -> Any:
        asked.append(event_id)
        return [(str(number), event) for number, event in enumerate(events, 1) if number > int(event_id or 0)]

    def steps(key: str) -> list[int]:
        return [answer["step"] for answer in json.loads(histories.report_samples(key, after))["answers"]]

    assert steps("job") == [0]
    events += [sample(20, 0, "new"), completed()]
    assert steps("job") == steps("job") == [0, 20]
    assert asked == [None, "2"]
    assert steps("other") == [0, 20]
    assert steps("job") == [0, 20]
    assert asked == [None, "2", None, None]
