"""The loss as a plot in characters."""

from __future__ import annotations

import math
import re

import click
import pytest

from arkor.cli.display.loss_plot import LEAST_COLUMNS, ROWS, plotted
from arkor.cli.display.style import width_of
from arkor.protocol.events import TrainingLogEvent


def logged(count: int) -> list[TrainingLogEvent]:
    """Return a log whose loss falls."""
    trained = [TrainingLogEvent("j", "", step=step, loss=3 / step) for step in range(1, count + 1)]
    return [*trained, *(TrainingLogEvent("j", "", step=step, eval_loss=2.0) for step in range(10, count + 1, 10))]


@pytest.mark.parametrize("columns", [10, 45, 80, 200])
@pytest.mark.parametrize("is_braille", [True, False])
def test_a_plot_fits_and_falls(columns: int, is_braille: bool) -> None:
    """From the top left to the bottom right; each evaluation is marked, and the axes have their ends."""
    lines = [click.unstyle(line) for line in plotted(logged(100), columns, is_braille=is_braille)]
    assert max(map(width_of, lines)) < max(columns, LEAST_COLUMNS)
    body = [re.split("[│|]", line)[1] for line in lines[:ROWS]]
    begin = next(row for row, line in enumerate(body) if line[:1].strip())
    assert begin < ROWS // 2
    assert len(body[-1]) == max(map(len, body))  # the end is the lowest place
    assert sum(line.count("o") for line in body) == 10
    assert lines[-2].split() == ["step", "1", "100"]
    assert "".join(body).isascii() != is_braille


@pytest.mark.parametrize("steps", [[], [1], [1, 1]])
def test_few_figures_have_a_plot_too(steps: list[int]) -> None:
    """A figure that is not finite is left out; without any there is no plot."""
    odd = [TrainingLogEvent("j", "", step=1, loss=math.nan), TrainingLogEvent("j", "", step=2, eval_loss=math.inf)]
    found = plotted([*odd, *(TrainingLogEvent("j", "", step=step, loss=1.0) for step in steps)], 60, is_braille=False)
    assert bool(found) == bool(steps)
    assert "nan" not in "".join(found)
