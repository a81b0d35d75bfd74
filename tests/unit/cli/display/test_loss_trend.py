"""How the loss of a run went, in plain words."""

from __future__ import annotations

import pytest

from arkor.cli.display.loss_trend import LossTrend
from arkor.protocol.events import TrainingLogEvent


def lines(losses: list[float], held_out: dict[int, float] | None = None) -> list[str]:
    """Return what is said of a run with these losses."""
    trend = LossTrend()
    for step, loss in enumerate(losses, start=1):
        trend.take(TrainingLogEvent(step=step, loss=loss, job_id="job_1", timestamp=""))
    for step, loss in (held_out or {}).items():
        trend.take(TrainingLogEvent(step=step, eval_loss=loss, job_id="job_1", timestamp=""))
    return trend.lines()


def test_a_loss_that_fell() -> None:
    """The means of the first and the last tenth."""
    assert lines([3.0, 2.0, *[1.0] * 16, 0.5, 0.3]) == ["The loss fell from 2.50 to 0.40."]


@pytest.mark.parametrize("last", [2.0, 1.95, 4.0])
def test_a_loss_that_did_not_fall(last: float) -> None:
    """With what to do next; a difference of less than 5 % is none."""
    (line,) = lines([2.0, last])
    assert line.startswith(f"The loss did not fall: 2.00 at the beginning, {last:.2f} at the end. ")
    assert "--epochs" in line


def test_held_out_rows_have_a_sentence_of_their_own() -> None:
    """Which says since when it rises; a little is no reason to train less."""
    assert lines([2.0, 1.0], {1: 1.0, 2: 1.2})[1] == "On held-out rows it is 1.20."
    assert lines([2.0, 1.0], {1: 2.0, 2: 1.5})[1] == "On held-out rows it is 1.50."
    assert lines([2.0, 1.0], {1: 1.5, 2: 2.0})[1].startswith("On held-out rows it was 1.50 at step 1 and rose to 2.00")


@pytest.mark.parametrize("losses", [[], [1.0]])
def test_without_figures_nothing_is_said(losses: list[float]) -> None:
    """One figure shows no trend."""
    assert lines(losses) == []
