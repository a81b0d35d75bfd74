"""The history of a job's figures as a list and as a DataFrame."""

from __future__ import annotations

import sys

import pytest

from arkor.errors import ArkorError
from arkor.protocol.events import TrainingLogEvent
from arkor.protocol.metrics import COLUMNS, Metrics

ENTRIES = Metrics(
    [
        TrainingLogEvent("job_1", "2026-01-31T09:30:09.000Z", 5, loss=2.5, learning_rate=0.0002, epoch=0.5),
        TrainingLogEvent("job_1", "2026-01-31T09:30:10Z", 5, eval_loss=2.25),
        TrainingLogEvent("job_1", "some day", 10, loss=1.5),
    ]
)


def test_the_figures_are_a_list() -> None:
    """Of the log events, which have names; as rows they have an order."""
    assert [entry.loss for entry in ENTRIES] == [2.5, None, 1.5]
    assert COLUMNS == ("step", "loss", "eval_loss", "learning_rate", "epoch", "samples_per_second", "timestamp")
    assert next(ENTRIES.rows()) == (5, 2.5, None, 0.0002, 0.5, None, "2026-01-31T09:30:09.000Z")


@pytest.mark.parametrize("entries", [ENTRIES, Metrics()])
def test_a_frame_has_the_same_types_whatever_is_in_it(entries: Metrics) -> None:
    """Numbers that are absent are NaN, a moment that is none is NaT."""
    pytest.importorskip("pandas")
    frame = entries.to_pandas()
    assert list(frame.columns) == list(COLUMNS)
    assert [str(kind) for kind in frame.dtypes[:-1]] == ["int64", *["float64"] * 5]
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
