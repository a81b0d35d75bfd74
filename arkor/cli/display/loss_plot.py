"""The loss of a job as a plot in characters: braille, or ASCII where the locale has no more."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import attrs

from arkor.cli.display.style import quiet, strong
from arkor.protocol.events import TrainingLogEvent

ROWS = 14
LEAST_COLUMNS = 36
HELD_OUT = "o"
_LOSS = "."
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a braille character, by column and row
_BRAILLE = 0x2800

Point = tuple[int, float]


@attrs.frozen
class _Grid:
    """The cells of a plot, and what is 0 and 1 on their axes; a cell of braille has two columns and four rows of dots.

    Attributes:
        width: cells in a row.
        low, high: the lowest figure and the highest, which differ.
        first, last: the first step and the last.
        fine: dots in a row, and in a column, of a cell.
    """

    width: int
    low: float
    high: float
    first: float
    last: float
    fine: tuple[int, int]

    def place(self, point: Point) -> tuple[int, int]:
        """Return the column and the row of dots of a point, from the top left."""
        across, down = self.width * self.fine[0] - 1, ROWS * self.fine[1] - 1
        share = (point[0] - self.first) / (self.last - self.first) if self.last > self.first else 0.0
        return round(share * across), round((self.high - point[1]) / (self.high - self.low) * down)


def plotted(found: Iterable[TrainingLogEvent], columns: int, *, is_braille: bool) -> list[str]:
    """Return a plot of the loss, with the losses on held-out rows as ``o``; none if nothing finite was logged.

    Args:
        found: the log, oldest first.
        columns: characters of a line; 36 are used at least.
        is_braille: whether the terminal has braille characters.
    """
    events = list(found)
    loss = _points((event.step, event.loss) for event in events)
    held_out = _points((event.step, event.eval_loss) for event in events)
    if not loss and not held_out:
        return []
    figures = [figure for _, figure in (*loss, *held_out)]
    steps = [step for step, _ in (*loss, *held_out)]
    low, high = min(figures), max(figures)
    spread = high - low or 1.0
    labels = [f"{high - spread * row / (ROWS - 1):.3g}" for row in range(ROWS)]
    margin = max(map(len, labels))
    width = max(LEAST_COLUMNS, columns) - margin - 4
    grid = _Grid(width, high - spread, high, min(steps), max(steps), (2, 4) if is_braille else (1, 1))
    cells = _drawn(grid, loss, is_braille=is_braille)
    for point in held_out:
        column, row = grid.place(point)
        cells[row // grid.fine[1]][column // grid.fine[0]] = strong(HELD_OUT)
    wall, floor, corner = ("│", "─", "└") if is_braille else ("|", "-", "+")
    lines = []
    for row, (label, line) in enumerate(zip(labels, cells, strict=True)):
        shown = label if row % 4 == 0 or row == ROWS - 1 else ""
        lines.append(f" {quiet(f'{shown:>{margin}} {wall}')}{''.join(line).rstrip()}")
    lines.append(quiet(f" {' ' * margin} {corner}{floor * width}"))
    first, last = f"step {min(steps):,}", f"{max(steps):,}"
    lines.append(f"{' ' * (margin + 3)}{first}{last:>{max(len(last) + 1, width - len(first))}}")
    return [*lines, _legend(loss, held_out)]


def _legend(loss: Sequence[Point], held_out: Sequence[Point]) -> str:
    named = [f"loss {loss[-1][1]:.3f}"] if loss else []
    named += [f"{strong(HELD_OUT)} held-out {held_out[-1][1]:.3f}"] if held_out else []
    return "  " + "   ".join(named)


def _drawn(grid: _Grid, points: Sequence[Point], *, is_braille: bool) -> list[list[str]]:
    """Return the cells of a line through the points."""
    dots = [[0] * grid.width for _ in range(ROWS)]
    across, down = grid.fine
    for column, row in _line(grid, points):
        dots[row // down][column // across] |= _DOTS[column % across][row % down]
    return [[_cell(found, is_braille=is_braille) for found in line] for line in dots]


def _cell(dots: int, *, is_braille: bool) -> str:
    if not dots:
        return " "
    return chr(_BRAILLE + dots) if is_braille else _LOSS


def _line(grid: _Grid, points: Sequence[Point]) -> Iterable[tuple[int, int]]:
    """Yield the dots of the mean of each column of dots, joined by a line."""
    by_column: dict[int, list[int]] = {}
    for point in points:
        column, row = grid.place(point)
        by_column.setdefault(column, []).append(row)
    places = [(column, round(sum(rows) / len(rows))) for column, rows in sorted(by_column.items())]
    yield from places[:1]
    for (left, top), (right, bottom) in itertools.pairwise(places):
        count = max(right - left, abs(bottom - top))
        for number in range(1, count + 1):
            yield left + round((right - left) * number / count), top + round((bottom - top) * number / count)


def _points(pairs: Iterable[tuple[int, float | None]]) -> list[Point]:
    """Return the steps with a finite figure."""
    return [(step, figure) for step, figure in pairs if figure is not None and math.isfinite(figure)]
