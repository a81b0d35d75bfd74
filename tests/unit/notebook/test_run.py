"""All that is shown of a run: taken in once or twice, in bounded memory."""

from __future__ import annotations

import math
from typing import Any

from arkor.drawing.chart import MOST_POINTS
from arkor.notebook.run import LONGEST_TEXT, MOST_PROMPTS, Run
from arkor.protocol.events import Event, parse_event
from arkor.protocol.jobs import TrainingJob

JOB = TrainingJob(id="job_1", name="run", status="running", config={"model": "m", "maxSteps": 100})


def event(kind: str, **fields: Any) -> Event:
    """Return an event as it came."""
    found = parse_event({"type": kind, "jobId": "job_1", **fields})
    assert found is not None
    return found


def sample(step: int, answer: str, *, number: int = 0, **fields: Any) -> Event:
    """Return the event of an answer to a prompt, as the protocol has it."""
    return event("sample.made", **{"step": step, "sample": number, "prompt": "question", "answer": answer, **fields})


def run_of(*events: Event) -> Run:
    """Return what is known after some events."""
    run = Run("run", "m")
    for one in events:
        run.take(one, JOB)
    return run


def test_the_figures_are_those_of_the_events() -> None:
    """The losses, the best of those on held-out rows, the checkpoints, the device and its memory."""
    run = run_of(
        event("training.started", metadata={"device": "cuda"}),
        event("training.log", step=1, loss=2.0, deviceMemory={"used": 1, "total": 4}),
        event("training.log", step=1, evalLoss=1.0),
        event("training.log", step=2, evalLoss=1.5),
        event("checkpoint.saved", step=2),
    )
    assert (run.losses.points, run.held_out.points, run.held_out.best) == ([(1, 2.0)], [(1, 1.0), (2, 1.5)], (1, 1.0))
    assert (run.checkpoints, run.device, run.memory) == ([2], "cuda", (1, 4))


def test_taking_an_event_in_twice_changes_nothing() -> None:
    """An interrupt may come between the view and the callback; the event is then shown again."""
    events = [
        event("training.log", step=1, loss=2.0),
        event("training.log", step=2, loss=1.0, evalLoss=1.0),
        event("checkpoint.saved", step=2),
        sample(2, "a"),
        sample(4, "b"),
    ]
    once, twice = run_of(*events), run_of(*(one for found in events for one in (found, found)))
    for run in (once, twice):
        assert run.losses.points == [(1, 2.0), (2, 1.0)]
        assert run.checkpoints == [2]
        assert [one.answer for one in run.samples[0]] == ["a", "b"]


def test_a_loss_that_is_no_number_is_not_the_best() -> None:
    """It is left out, and the figures go on after it."""
    logged = (event("training.log", step=step, evalLoss=loss) for step, loss in ((1, math.nan), (2, 1.0), (3, 2.0)))
    run = run_of(*logged)
    assert (run.held_out.points, run.held_out.best) == ([(2, 1.0), (3, 2.0)], (2, 1.0))


def test_a_long_run_takes_little_memory_and_keeps_its_ends_and_its_best() -> None:
    """Points are left out that the drawing would not show."""
    run = run_of(*(event("training.log", step=step, loss=abs(step - 5000.0)) for step in range(1, 10_001)))
    points = run.losses.points
    assert len(points) <= 2 * MOST_POINTS
    assert (points[0][0], points[-1][0], run.losses.best) == (1, 10_000, (5000, 0.0))
    assert (5000, 0.0) in points


def test_only_the_first_prompts_are_kept_and_the_others_are_counted() -> None:
    """Of each the last two answers."""
    run = run_of(*(sample(step, f"{step}", number=number) for step in (1, 2, 3) for number in range(MOST_PROMPTS + 4)))
    assert len(run.samples) == MOST_PROMPTS
    assert len(run.prompts) == MOST_PROMPTS + 4
    assert [one.answer for one in run.samples[0]] == ["2", "3"]


def test_of_a_sample_as_much_is_kept_as_is_shown() -> None:
    """Of messages the last one; long texts are cut."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Two?"}]
    (kept,) = run_of(sample(5, "2" * 999, number=3, prompt=messages, expected="two", exact=False)).samples[3]
    assert (kept.step, kept.sample, kept.prompt, kept.expected, kept.exact) == (5, 3, "Two?", "two", False)
    assert len(kept.answer) == LONGEST_TEXT + 1
