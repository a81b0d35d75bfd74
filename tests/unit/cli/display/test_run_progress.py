"""How far a job is, as its events tell."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.cli.display.run_progress import Figures
from arkor.progress.run_state import WAITING
from arkor.protocol.events import Event, parse_event
from arkor.protocol.jobs import TrainingJob
from tests.support.events import checkpoint, completed, failed, log, preparing, sample_made, started


def event(body: dict[str, Any], second: int | None = None) -> Event:
    """Return an event, of a second after nine o'clock."""
    at = None if second is None else f"2026-01-01T09:{second // 60:02}:{second % 60:02}.000Z"
    found = parse_event({"timestamp": at, **body})
    assert found is not None
    return found


def figures(*events: Event, **config: Any) -> Figures:
    """Return what is known of a job after these events."""
    known = Figures(TrainingJob(id="job_1", config=config), "arkor jobs unpause job_1 --local")
    for item in events:
        known.take(item)
    return known


def test_each_event_has_its_line() -> None:
    """The figures that are there, and no line for the end, which is told by its status."""
    told = [
        started(),
        log(1, 2.5),
        log(2, 1.5, evalLoss=1.75),
        log(2, evalLoss=float("nan")),
        log(3),
        sample_made(3, answer="yes,\nit is\x1b[2J"),
        checkpoint(3),
        completed(),
        failed("boom"),
    ]
    known = figures(maxSteps=60)
    lines = []
    for item in map(event, told):
        known.take(item)
        lines.append(known.line(item))
    assert lines == [
        "Training started",
        "step 1/60  loss 2.5000",
        "step 2/60  loss 1.5000  eval loss 1.7500",
        "step 2/60  eval loss nan",
        "step 3/60",
        "sample 1 at step 3: yes, it is [2J",
        "step 3/60  checkpoint saved",
        "",
        "",
    ]


def test_a_long_answer_of_a_sample_is_cut() -> None:
    """Its line says which prompt it answers, and when. Beside a bar, all samples of a step have one line."""
    told = event(sample_made(40, 2, answer="word " * 100))
    assert figures().line(told).startswith("sample 3 at step 40: word word")
    assert len(figures().line(told)) == 200
    assert figures().notice(told) == ""


def test_advice_is_told_at_the_start() -> None:
    """Whatever else a backend says."""
    for said, lines in (
        (["too few steps", 3], ["Training started", "Advice: too few steps"]),
        ("x", ["Training started"]),
    ):
        known = figures(item := event(started(advice=said)))
        assert known.line(item).splitlines() == lines


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        (
            {"bestStep": 4, "bestEvalLoss": 0.5},
            "The adapter is that of step 4, the best evaluation (eval loss 0.5000).",
        ),
        ({"bestStep": 4, "endReason": "max_steps"}, "The adapter is that of step 4, the best evaluation."),
        ({"endReason": "early_stopping"}, "The training stopped early: no better evaluation came."),
        ({"bestStep": "4", "bestEvalLoss": "low", "endReason": 3}, ""),
    ],
)
def test_an_end_that_is_not_usual_is_told(metrics: dict[str, Any], line: str) -> None:
    """Which adapter is the final one, and why there are fewer steps; whatever else a backend says."""
    known = figures(item := event(completed(**metrics)))
    assert known.line(item) == line


@pytest.mark.parametrize(
    ("config", "metadata", "step", "total"),
    [
        ({}, {}, 1, None),
        ({"maxSteps": 60}, {}, 1, 60),
        ({"maxSteps": 60}, {"maxSteps": 50}, 1, 50),
        ({"numTrainEpochs": 3}, {"maxSteps": 255}, 1, 255),
        ({"maxSteps": 60, "dryRun": True}, {}, 1, None),
        ({"maxSteps": 60, "dryRun": True}, {"maxSteps": 2}, 1, 2),
        ({"maxSteps": 60}, {}, 61, None),
        ({"maxSteps": "60"}, {"maxSteps": "x"}, 1, None),
        ({}, {"maxSteps": 0}, 0, None),
        ({}, {"maxSteps": -3}, -5, None),
    ],
)
def test_the_total_is_what_the_backend_says_and_else_what_was_asked_for(
    config: dict[str, Any], metadata: dict[str, Any], step: int, total: int | None
) -> None:
    """How many steps a dry run has is the backend's business; a total that was passed is none."""
    assert figures(event(started(**metadata)), event(log(step, 1.0)), **config).total == total


def test_before_it_trains_it_says_that_it_waits() -> None:
    """And nothing else; afterwards how it ended."""
    known = figures(maxSteps=5)
    assert (known.state, known.parts()) == (WAITING, [])
    known.take(event(log(1, 2.0)))
    assert known.state == "training"
    known.take(event({"type": "training.cancelled"}))
    assert known.state == "cancelled"


def test_preparing_has_its_share_and_the_time_left() -> None:
    """For each phase anew; a total that is not known has neither, and the training begins with figures of its own."""
    known = figures(event(preparing("reading", 0, 400), 0), maxSteps=60)
    assert (known.state, known.share, known.parts()) == ("reading the rows", 0.0, [])
    lines = []
    for body, second in [
        (preparing("reading", 100, 400), 10),
        (preparing("tokenizing", 0, 0), 40),
        (preparing("\x1b[31m", 5, 4), 41),
    ]:
        item = event(body, second)
        known.take(item)
        lines.append(known.line(item))
    assert lines == ["reading the rows  25%  0:00:30 left", "tokenizing the rows", "[31m  100%"]
    known.take(event(started(), 50))
    known.take(event(log(6, 2.0), 60))
    assert (known.state, known.share, known.parts()) == ("training", 0.1, ["6/60", "loss 2.0000"])


def test_a_job_that_is_resumed_prepares_and_goes_on() -> None:
    """It does not start a second time; the pace is that of its steps, not of its rows."""
    known = figures(event(started(), 0), event(log(1, 2.0), 10), maxSteps=12)
    known.take(event(preparing("tokenizing", 500, 10**400), 20))
    assert (known.share, known.parts()) == (0.0, [])
    known.take(event(preparing("tokenizing", 10**400, 500), 21))
    assert known.share == 1.0
    known.take(event(checkpoint(1), 30))
    assert (known.state, known.share) == ("training", 1 / 12)
    known.take(event(log(2, 2.0), 40))
    known.take(event(log(4, 2.0), 50))
    assert known.parts() == ["4/12", "loss 2.0000", "0:00:40 left", "0.2 steps/s"]


def test_interruptions_and_pauses_have_their_lines() -> None:
    """Also beside a bar; no terminal obeys what a backend says of them."""
    told: list[tuple[dict[str, Any], str]] = [
        ({"type": "training.interrupted", "reason": "Memory\x1b ran out", "batchSize": 2}, WAITING),
        (
            {"type": "training.interrupted", "reason": "Lost", "batchSize": 1, "gradientAccumulationSteps": 4},
            WAITING,
        ),
        ({"type": "training.paused", "reason": "it was paused by a person", "step": 40}, "paused"),
        ({"type": "training.paused", "reason": "the disk is full: 3 MiB are free for /data", "step": 40}, "paused"),
        ({"type": "training.paused", "reason": "odd"}, "paused"),
        ({"type": "training.unpaused"}, WAITING),
    ]
    known = figures(event(log(40, 2.0)))
    lines = []
    for body, state in told:
        item = event(body)
        known.take(item)
        assert known.state == state
        assert known.line(item) == known.notice(item)
        lines.append(known.line(item))
    assert lines == [
        "Warning: Memory ran out: the job goes on by itself.",
        "Warning: Lost: the job goes on by itself, with batch_size=1 and gradient_accumulation_steps=4.",
        "Paused at step 40. Unpause it with: arkor jobs unpause job_1 --local",
        "Paused at step 40: the disk is full: 3 MiB are free for /data; it goes on by itself when there is room",
        "Paused. Unpause it with: arkor jobs unpause job_1 --local",
        "Unpaused",
    ]
    assert known.notice(event(log(41, 2.0))) == ""


@pytest.mark.parametrize("kind", ["training.interrupted", "training.paused", "training.unpaused"])
def test_after_a_break_the_pace_is_measured_anew(kind: str) -> None:
    """The step and the losses stay; the time in between is not training."""
    known = figures(event(log(10, 2.0), 10), event(log(20, 1.5), 20), maxSteps=100)
    assert known.parts() == ["20/100", "loss 1.5000", "0:01:20 left", "1 steps/s"]
    known.take(event({"type": kind}, 30))
    assert (known.share, known.parts()) == (0.2, ["20/100", "loss 1.5000"])
    known.take(event(checkpoint(20), 3000))
    assert known.state == "training"
    known.take(event(log(21, 1.5), 3010))
    known.take(event(log(25, 1.5), 3018))
    assert known.parts() == ["25/100", "loss 1.5000", "0:02:30 left", "0.5 steps/s"]


def test_pace_and_time_left_are_those_of_the_backends_clock() -> None:
    """Events that come late, all at once, tell the same; losses stay until there are newer ones."""
    known = figures(
        event(started(), 0),
        event(log(10, 2.0), 10),
        event(log(20, 1.5, evalLoss=1.75), 30),
        event(log(30, 1.25), 50),
        event(log(30, evalLoss=1.5), 59),  # an evaluation is no step
        maxSteps=3630,
    )
    assert known.parts() == ["30/3630", "loss 1.2500", "2:00:00 left", "eval loss 1.5000", "0.5 steps/s"]
    known.take(event(completed(), 60))
    assert known.parts() == ["30/3630", "loss 1.2500", "eval loss 1.5000", "0.5 steps/s"]


def test_only_the_last_log_events_make_the_pace() -> None:
    """A slow beginning is forgotten; after an interruption it is measured anew."""
    slow = [event(log(step, 1.0), step * 100) for step in range(3)]
    quick = [event(log(step, 1.0), 300 + step) for step in range(3, 30)]
    known = figures(*slow, *quick, maxSteps=59)
    assert known.parts()[-2:] == ["0:00:30 left", "1 steps/s"]
    known.take(event(started(), 400))
    assert known.parts()[-1] == "loss 1.0000"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (event(log(1, 1.0)), event(log(2, 1.0))),
        (event(log(1, 1.0), 5), event(log(2, 1.0), 5)),
        (event(log(1, 1.0), 5), event(log(2, 1.0), 4)),
        (event(log(1, 1.0), 5), event(log(10**400, 1.0), 6)),
        (event(log(-(10**400), 1.0), 5), event(log(1, 1.0), 6)),
    ],
    ids=["no time", "no time between", "back in time", "too far", "from too far"],
)
def test_odd_times_and_steps_have_no_pace(first: Event, second: Event) -> None:
    """Nothing is raised, and nothing is made up."""
    assert not any("left" in part or "steps/s" in part for part in figures(first, second, maxSteps=10**500).parts())
