"""Answers to the same prompts, as a training goes on."""

from __future__ import annotations

from typing import Any

import click
import pytest

from arkor.cli.display import samples as module
from arkor.cli.display.samples import Samples
from arkor.cli.display.style import ASCII, width_of
from arkor.protocol.events import TrainingLogEvent, parse_event

LOG = TrainingLogEvent("job_1", "", step=1)


def made(step: int, number: int, answer: str, **fields: Any) -> Any:
    """Return the event of a sample."""
    prompt = [{"role": "system", "content": "be brief"}, {"role": "user", "content": f"question\n{number}?"}]
    return parse_event(
        {"type": "sample.made", "step": step, "sample": number, "prompt": prompt, "answer": answer, **fields}
    )


@pytest.fixture(params=[110, 80, 45])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How wide the terminal is."""
    monkeypatch.setattr(module, "columns_of", lambda _: request.param)
    return int(request.param)


@pytest.fixture(autouse=True)
def _ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """The characters of every locale."""
    monkeypatch.setattr(module, "signs_for", lambda _: ASCII)


def test_a_step_has_one_line() -> None:
    """Once its samples are all there: with the first one, and how many answers are exact."""
    samples = Samples()
    told = [
        made(0, 0, "no\x1b[2J", exact=False),
        made(0, 1, "yes", exact=True),
        LOG,
        LOG,
        made(4, 0, "a"),
        made(8, 0, "b"),
    ]
    lines = [click.unstyle(samples.take(event)) for event in told]
    first = "step 0  question 0? -> no [2J  1/2 exact"
    assert lines == ["", "", first, "", "", "step 4  question 0? -> a"]


def test_the_table_has_the_first_answer_and_the_last(columns: int) -> None:
    """Beside each other where there is room; the base model's are named so."""
    samples = Samples()
    for step in (0, 20, 40):
        for number in range(2):
            samples.take(made(step, number, f"answer {step} " + "返x" * 60))
    lines = [click.unstyle(line) for line in samples.table()]
    text = "\n".join(lines).lower()
    assert all(width_of(line) < columns for line in lines)
    assert "base model" in text
    assert "step 40" in text
    assert (text.count("answer 0"), text.count("answer 20"), text.count("answer 40")) == (2, 0, 2)


def test_a_prompt_that_was_asked_once_has_nothing_to_compare() -> None:
    """Nor has a run without samples; a prompt may be plain text."""
    samples = Samples()
    assert samples.table() == []
    samples.take(made(0, 0, "a", prompt="once upon"))
    assert click.unstyle(samples.take(LOG)) == "step 0  once upon -> a"
    assert samples.table() == []
