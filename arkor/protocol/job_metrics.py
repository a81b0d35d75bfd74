"""The metrics of a job over time, as a list and as a DataFrame.

Protocol: docs/protocol.md, "The event stream": ``training.log``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from arkor.errors import ArkorError
from arkor.protocol.events import TrainingLogEvent
from arkor.protocol.metrics import COLUMNS, METRIC_NAMES


class Metrics(list[TrainingLogEvent]):
    """The log of a job, oldest first: a list of ``TrainingLogEvent``, one for each event as it came.

    A step that was trained and evaluated has two entries, one with ``loss`` and one with ``eval_loss``: a moment of
    its own each. ``metrics.to_pandas().groupby("step").first()`` makes one row a step of them.
    """

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield each entry as a tuple in the order of ``arkor.protocol.metrics.COLUMNS``."""
        for entry in self:
            yield tuple(getattr(entry, name) for name in COLUMNS)

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with a row for each entry.

        Returns:
            Columns ``step`` (whole numbers), the metrics of ``arkor.protocol.metrics.LogMetrics`` (floating point, NaN
            if a log event lacks one) and ``timestamp`` (UTC).

        Raises:
            ArkorError: pandas 2 or newer is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as exc:
            raise ArkorError("to_pandas() needs pandas. Install it with: pip install 'pandas>=2'") from exc
        frame = pandas.DataFrame(list(self.rows()), columns=list(COLUMNS))
        frame = frame.astype({"step": "int64", **dict.fromkeys(METRIC_NAMES, "float64")})
        frame["timestamp"] = pandas.to_datetime(frame["timestamp"], utc=True, format="ISO8601", errors="coerce")
        return frame
