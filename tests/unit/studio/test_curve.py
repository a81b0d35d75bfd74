"""Few points that show the same curve as many: in order, with every extreme and every evaluation."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from arkor.protocol.metrics import METRICS
from arkor.studio.curve import FEWEST_POINTS, Curve
from tests.support.events import TIMESTAMP, log

FIGURES = st.one_of(st.none(), st.floats(width=32), st.integers(-(10**6), 10**6))
LOGGED = st.builds(log, st.integers(0, 10**6), FIGURES, evalLoss=FIGURES)
MOST = 20
# Left alone, hypothesis makes lists of a few: nothing would be left out of those.
EVENTS = st.one_of(st.lists(LOGGED, max_size=MOST), st.lists(LOGGED, min_size=MOST + 1, max_size=3 * MOST))


def curve_of(events: list[dict[str, Any]]) -> Curve:
    """Return the curve of these log events."""
    curve = Curve()
    curve.extend(events)
    return curve


def known(events: list[dict[str, Any]], name: str) -> list[float]:
    """Return the figures of a name that can be shown."""
    return [event[name] for event in events if event[name] is not None and math.isfinite(event[name])]


@given(EVENTS, st.integers(FEWEST_POINTS, MOST))
def test_the_points_are_few_in_order_and_have_the_extremes(events: list[dict[str, Any]], most: int) -> None:
    """The ends are among them, and so are the smallest and the largest loss of either kind."""
    curve = curve_of(events)
    kept = curve.sampled(most)
    assert kept == sorted(set(kept))
    assert len(kept) <= most
    assert set(kept) >= {index for index in (0, len(events) - 1) if 0 <= index < len(events)}
    if len(events) <= most:
        assert len(kept) == len(events)
    points = [curve.point(index) for index in kept]
    for name in ("loss", "evalLoss"):
        there = known(events, name)
        shown = [point[name] for point in points if point[name] is not None]
        if there:
            assert (min(shown), max(shown)) == (min(there), max(there))


@given(EVENTS, st.integers(FEWEST_POINTS, MOST))
def test_thinning_keeps_what_sampling_takes(events: list[dict[str, Any]], most: int) -> None:
    """Whole points, none made up."""
    curve = curve_of(events)
    points = [curve.point(index) for index in curve.sampled(most)]
    curve.thin(most)
    assert [curve.point(index) for index in range(len(curve))] == points


def test_every_evaluation_is_kept_where_there_is_room() -> None:
    """They are few beside the log of the training, and each is looked at."""
    events = [log(step, 1.0) if step % 50 else log(step, evalLoss=float(step)) for step in range(5000)]
    curve = curve_of(events)
    points = [curve.point(index) for index in curve.sampled(300)]
    assert [point["evalLoss"] for point in points if point["evalLoss"] is not None] == list(range(0, 5000, 50))
    assert len(points) > 250


def test_each_part_of_the_curve_keeps_its_peak() -> None:
    """A spike of one step stands out at any scale."""
    spikes = {1234, 5678, 8000}
    curve = curve_of([log(step, 9.0 if step in spikes else 1 / (step + 1)) for step in range(10_000)])
    assert spikes <= {curve.point(index)["step"] for index in curve.sampled(100)}


def test_a_curve_without_a_loss_keeps_points_all_along() -> None:
    """The learning rate alone is worth a look."""
    curve = curve_of([log(step, learningRate=step / 1000) for step in range(1000)])
    kept = curve.sampled(100)
    assert max(after - before for before, after in itertools.pairwise(kept)) <= 11
    assert curve.last() == {"step": 999}


def test_a_point_is_what_its_event_told() -> None:
    """What it did not tell is null; what no chart can show is, too."""
    told = log(7, 0.5, learningRate=1e-4, epoch=2, samplesPerSecond=12.5, timestamp=TIMESTAMP)
    odd = {"step": "many", "loss": float("nan"), "evalLoss": float("inf"), "epoch": "two", "timestamp": 5}
    huge = {"step": 10**30, "loss": 10**400, "timestamp": "2026-01-01T01:00:00.25+01:00"}
    nothing = {metric.wire_name: None for metric in METRICS}
    curve = curve_of([told, odd, huge])
    assert curve.point(0) == {
        **nothing,
        "step": 7,
        "loss": 0.5,
        "evalLoss": None,
        "learningRate": 1e-4,
        "epoch": 2.0,
        "samplesPerSecond": 12.5,
        "timestamp": TIMESTAMP,
    }
    assert curve.point(1) == {"step": 0, **nothing, "timestamp": None}
    assert curve.point(2) == {"step": 0, **nothing, "timestamp": "2026-01-01T00:00:00.250Z"}


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00"])
def test_a_time_at_the_edge_of_the_calendar_hides_no_curve(time: str) -> None:
    """It counts as absent, as any that is none."""
    point = curve_of([log(1, 0.5, timestamp=time)]).point(0)
    assert (point["loss"], point["timestamp"]) == (0.5, None)


@pytest.mark.parametrize(
    ("events", "last"),
    [
        ([], {}),
        ([log(1)], {"step": 1}),
        ([log(1, 2.0), log(2, evalLoss=3.0)], {"step": 2, "loss": 2.0, "evalLoss": 3.0}),
        ([log(1, 2.0), log(2, 1.0), log(3, float("nan"))], {"step": 3, "loss": 1.0}),
    ],
)
def test_the_last_values_are_those_that_were_told_last(events: list[dict[str, Any]], last: dict[str, Any]) -> None:
    """Each for itself, since an evaluation has no training loss."""
    assert curve_of(events).last() == last
