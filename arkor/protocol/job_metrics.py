"""The metrics of a job over time, as a list and as a DataFrame.

Protocol: docs/protocol.md, "The event stream": ``training.log``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from arkor.drawing.chart import Curve, loss_curves, plot
from arkor.drawing.html import text
from arkor.protocol.events import TrainingLogEvent
from arkor.protocol.metrics import COLUMNS, METRIC_NAMES
from arkor.protocol.tables import require_pandas
from arkor.text import many


class Metrics(list[TrainingLogEvent]):
    """The log of a job, oldest first: a list of ``TrainingLogEvent``, one for each event as it came.

    A step that was trained and evaluated has two entries, one with ``loss`` and one with ``eval_loss``: a moment of
    its own each. ``metrics.to_pandas().groupby("step").first()`` makes one row a step of them.
    """

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield each entry as a tuple in the order of ``arkor.protocol.metrics.COLUMNS``."""
        for entry in self:
            yield tuple(getattr(entry, name) for name in COLUMNS)

    def best(self) -> tuple[int, float] | None:
        """Return the step and the value of the best loss on held-out rows, nats; None if there is none."""
        return min(self._held_out(), key=lambda point: point[1], default=None)

    def curves(self) -> list[Curve]:
        """Return the curves of the training loss and of the loss on held-out rows, the best of which is marked."""
        losses = [(entry.step, entry.loss) for entry in self if entry.loss is not None]
        return loss_curves(losses, self._held_out(), self.best())

    def _held_out(self) -> list[tuple[int, float]]:
        found = ((entry.step, entry.eval_loss) for entry in self)
        return [(step, loss) for step, loss in found if loss is not None and math.isfinite(loss)]

    def plot(self, axis: Any = None) -> Any:
        """Draw the training loss and the loss on held-out rows by step, the best of which is marked.

        Args:
            axis: an axis of matplotlib to draw on; None for SVG, which needs no other package.

        Returns:
            A ``Plot``, which a notebook shows and whose ``svg`` is the drawing; or the axis.

        Example:
            ``result.metrics().plot()``
        """
        return plot(self.curves(), axis=axis)

    def __repr__(self) -> str:
        if not self:
            return "<Metrics, no entries>"
        losses = [entry.loss for entry in self if entry.loss is not None]
        loss = f", loss {losses[0]:.4f} to {losses[-1]:.4f}" if losses else ""
        return f"<Metrics, {many(len(self), 'log event')}, step {self[0].step} to {self[-1].step}{loss}>"

    def _repr_html_(self) -> str:
        return f"<p>{text(repr(self)[1:-1])}</p>{self.plot().svg if self else ''}"

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with a row for each entry.

        Returns:
            Columns ``step`` (whole numbers), the metrics of ``arkor.protocol.metrics.LogMetrics`` (floating point, NaN
            if a log event lacks one) and ``timestamp`` (UTC).

        Raises:
            ArkorError: pandas 2 or newer is not installed.
        """
        pandas = require_pandas()
        frame = pandas.DataFrame(list(self.rows()), columns=list(COLUMNS))
        frame = frame.astype({"step": "int64", **dict.fromkeys(METRIC_NAMES, "float64")})
        frame["timestamp"] = pandas.to_datetime(frame["timestamp"], utc=True, format="ISO8601", errors="coerce")
        return frame
