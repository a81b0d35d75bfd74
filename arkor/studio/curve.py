"""The figures of a job's log as columns, and few points that show the same curve."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from arkor.drawing.thinning import extremes
from arkor.protocol import wire
from arkor.protocol.metrics import METRICS, WIRE_COLUMNS

_NAMES = tuple(metric.wire_name for metric in METRICS)
FEWEST_POINTS = 10
LARGEST_STEP = 2**53  # what a browser's numbers hold
_NONE = math.nan


class Curve:
    """The log events of a job: 64 bytes each.

    Thread-safety: one thread at a time; meanwhile others may ask for its length and for ``last``.
    """

    def __init__(self) -> None:
        self._steps = array("q")
        self._times = array("d")  # Unix time in seconds
        self._figures = {name: array("d") for name in _NAMES}

    def __len__(self) -> int:
        return len(self._steps)

    def extend(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take in log events as they travel; a figure of another type, or one that is not finite, counts as absent."""
        self.extend_columns([[event.get(name) for event in events] for name in WIRE_COLUMNS])

    def extend_columns(self, columns: Sequence[Sequence[Any]]) -> None:
        """Take in log events by their values, a column for each of ``arkor.protocol.metrics.WIRE_COLUMNS``."""
        steps, *figures, times = columns
        self._steps.extend(_steps(steps))
        self._times.extend([_unix_time(time) for time in times])
        for column, values in zip(self._figures.values(), figures, strict=True):
            column.extend(_figures(values))

    def point(self, index: int) -> dict[str, Any]:
        """Return a log event as the page gets it."""
        values = {name: column[index] for name, column in self._figures.items()}
        figures = {name: None if math.isnan(value) else value for name, value in values.items()}
        return {"step": self._steps[index], **figures, "timestamp": _iso(self._times[index])}

    def last(self) -> dict[str, Any]:
        """Return the last step, and the last loss of either kind where there is one."""
        found: dict[str, Any] = {"step": self._steps[-1]} if self._steps else {}
        for name in ("loss", "evalLoss"):
            value = next((value for value in reversed(self._figures[name]) if not math.isnan(value)), None)
            if value is not None:
                found[name] = value
        return found

    def sampled(self, most: int) -> list[int]:
        """Return which events show the curve, in order: the ends, the evaluations, the extremes of the loss.

        Args:
            most: how many at most, ``FEWEST_POINTS`` or more. Evaluations take no more than half of them; where there
                are more, the extremes of their loss are taken.
        """
        count = len(self)
        if count <= most:
            return list(range(count))
        kept = {0, count - 1}
        evaluations, losses = self._figures["evalLoss"], self._figures["loss"]
        kept.update(extremes(_known(evaluations), evaluations, most // 2))
        logged, room = _known(losses), most - len(kept)
        kept.update(extremes(logged, losses, room) if logged else range(0, count, math.ceil(count / room)))
        return sorted(kept)

    def thin(self, most: int) -> None:
        """Keep the events alone that ``sampled`` takes."""
        kept = self.sampled(most)
        self._steps = array("q", (self._steps[index] for index in kept))
        self._times = array("d", (self._times[index] for index in kept))
        self._figures = {name: array("d", (column[index] for index in kept)) for name, column in self._figures.items()}


def _steps(values: Sequence[Any]) -> Sequence[int]:
    if set(map(type, values)) == {int} and -LARGEST_STEP <= min(values) <= max(values) <= LARGEST_STEP:  # nearly always
        return values
    return [_step(value) for value in values]


def _step(value: Any) -> int:
    step = wire.whole_number(value)
    return step if step is not None and abs(step) <= LARGEST_STEP else 0


def _figures(values: Sequence[Any]) -> Sequence[float]:
    kinds = set(map(type, values))  # nearly always one
    if kinds == {type(None)}:
        return [_NONE] * len(values)
    if kinds == {float} and all(map(math.isfinite, values)):
        return values
    return [_figure(value) for value in values]


def _figure(value: Any) -> float:
    figure = value if type(value) is float else wire.number(value)
    return figure if figure is not None and math.isfinite(figure) else _NONE


def _known(column: Sequence[float]) -> list[int]:
    return [index for index, value in enumerate(column) if not math.isnan(value)]


def _unix_time(value: Any) -> float:
    moment = wire.moment(value)
    return _NONE if moment is None else moment.timestamp()


def _iso(time: float) -> str | None:
    try:
        moment = datetime.fromtimestamp(time, timezone.utc)
    except (OverflowError, ValueError):  # none was told, or one before the year 1 or after 9999 in UTC
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
