"""The table of metrics, and the metrics of a job as a list and as a DataFrame."""

from __future__ import annotations

import sys

import pytest

from arkor.errors import ArkorError
from arkor.protocol.events import TrainingLogEvent, parse_event
from arkor.protocol.job_metrics import Metrics
from arkor.protocol.metrics import COLUMNS, METRICS, UNNAMED_WIRE_COLUMNS, WIRE_COLUMNS

ENTRIES = Metrics(
    [
        TrainingLogEvent("job_1", "2026-01-31T09:30:09.000Z", step=5, loss=2.5, learning_rate=0.0002, epoch=0.5),
        TrainingLogEvent("job_1", "2026-01-31T09:30:10Z", step=5, eval_loss=2.25),
        TrainingLogEvent("job_1", "some day", step=10, loss=1.5),
    ]
)


def test_the_figures_are_a_list() -> None:
    """Of the log events, which have names; as rows they have an order."""
    assert [entry.loss for entry in ENTRIES] == [2.5, None, 1.5]
    expected = {"step": 5, "loss": 2.5, "learning_rate": 0.0002, "epoch": 0.5, "timestamp": "2026-01-31T09:30:09.000Z"}
    assert next(ENTRIES.rows()) == tuple(expected.get(name) for name in COLUMNS)


def test_every_metric_travels_with_its_event() -> None:
    """Under its wire name, to the attribute of its Python name."""
    body = {metric.wire_name: 0.5 + number for number, metric in enumerate(METRICS)}
    event = parse_event({"type": "training.log", "jobId": "j", "step": 3, **body})
    assert [getattr(event, metric.name) for metric in METRICS] == list(body.values())


def test_the_columns_that_old_clients_read_stay_as_they_are() -> None:
    """Seven, in this order: they take rows of another width for no rows."""
    old = ("step", "loss", "evalLoss", "learningRate", "epoch", "samplesPerSecond", "timestamp")
    assert old == UNNAMED_WIRE_COLUMNS
    assert set(old) <= set(WIRE_COLUMNS)


@pytest.mark.parametrize("entries", [ENTRIES, Metrics()])
def test_a_frame_has_the_same_types_whatever_is_in_it(entries: Metrics) -> None:
    """Numbers that are absent are NaN, a moment that is none is NaT."""
    pytest.importorskip("pandas")
    frame = entries.to_pandas()
    assert list(frame.columns) == list(COLUMNS)
    assert [str(kind) for kind in frame.dtypes[:-1]] == ["int64", *["float64"] * len(METRICS)]
    assert str(frame.timestamp.dt.tz) == "UTC"
    assert len(frame) == len(entries)


def test_one_row_a_step_is_one_line_away() -> None:
    """As the docstring says."""
    pytest.importorskip("pandas")
    merged = ENTRIES.to_pandas().groupby("step").first()
    assert (merged.loss[5], merged.eval_loss[5], merged.loss[10]) == (2.5, 2.25, 1.5)
    assert ENTRIES.to_pandas().timestamp.isna().tolist() == [False, False, True]


def test_without_pandas_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And how to get it."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ArkorError, match=r"needs pandas\. Install it with: pip install 'pandas>=2'"):
        ENTRIES.to_pandas()
