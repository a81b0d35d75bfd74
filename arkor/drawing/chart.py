"""Curves over the steps of a training, as SVG or on an axis of matplotlib.

The SVG has presentation attributes alone: no style sheet and no script, which the places that show a saved notebook
take out. Its colours can be read on white and on black.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from arkor.drawing.html import text
from arkor.drawing.thinning import extremes

GREY = "#767676"  # of axes and words: the same contrast on white and on black
BLUE, ORANGE = "#3b82f6", "#e8710a"
COLOURS = (BLUE, ORANGE, "#16a34a", "#c026d3", "#0891b2", "#dc2626")
MOST_POINTS = 300  # of a curve: more than one for each two units of the drawing are not seen
MOST_DOTS = 75

_WIDTH, _HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 20, 22, 24
_MARK_GAP = 4.0  # units between two marks, at least
_TICKS = 5


@attrs.frozen(kw_only=True)
class Curve:
    """One curve of a chart.

    Attributes:
        label: its name.
        points: pairs of a step and a value, by ascending step; values that are not finite are left out.
        colour: as CSS writes it.
        is_dotted: whether each point has a dot: for a curve of few points.
        best: the point to mark, or None.
    """

    label: str
    points: Sequence[tuple[int, float]]
    colour: str = BLUE
    is_dotted: bool = False
    best: tuple[int, float] | None = None


class Plot:
    """A chart of a training's losses, which a notebook shows.

    Attributes:
        svg: the drawing, as one SVG element that needs nothing else.

    Example:
        ``Path("loss.svg").write_text(result.plot().svg)``
    """

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def __repr__(self) -> str:
        return f"<Plot, {len(self.svg):,} characters of SVG>"

    def _repr_svg_(self) -> str:
        return self.svg


def loss_curves(
    losses: Sequence[tuple[int, float]], held_out: Sequence[tuple[int, float]], best: tuple[int, float] | None
) -> list[Curve]:
    """Return the curves of a training's loss and of its loss on held-out rows.

    Args:
        losses: pairs of a step and a loss, by ascending step.
        held_out: the same of held-out rows.
        best: the pair of ``held_out`` to mark, or None.
    """
    is_dotted = len(held_out) <= MOST_DOTS
    return [
        Curve(label="loss", points=losses, colour=BLUE),
        Curve(label="loss on held-out rows", points=held_out, colour=ORANGE, is_dotted=is_dotted, best=best),
    ]


def plot(curves: Iterable[Curve], marks: Iterable[int] = (), axis: Any = None) -> Any:
    """Draw curves.

    Args:
        curves: the curves.
        marks: steps of checkpoints.
        axis: an axis of matplotlib to draw on; None for SVG.

    Returns:
        A ``Plot``, or the axis.
    """
    if axis is None:
        return Plot(svg(curves, marks))
    for curve in curves:
        steps, values = zip(*curve.points, strict=True) if curve.points else ((), ())
        axis.plot(steps, values, label=curve.label, color=curve.colour, marker="o" if curve.is_dotted else None)
        if curve.best is not None:
            axis.plot(*curve.best, marker="o", markersize=12, markerfacecolor="none", color=curve.colour)
    for step in marks:
        axis.axvline(step, linestyle="--", linewidth=0.5, color=GREY)
    axis.set_xlabel("step")
    axis.set_ylabel("loss")
    axis.legend()
    return axis


def svg(curves: Iterable[Curve], marks: Iterable[int] = ()) -> str:
    """Return curves as one SVG element, at most some 12 KiB for each curve.

    Args:
        curves: the curves; the empty ones are left out.
        marks: steps with a dashed line, ascending.
    """
    shown = [curve for curve in map(_finite, curves) if curve.points]
    frame = _Frame.around([point for curve in shown for point in curve.points])
    parts = [*_grid(frame), *_marks(frame, marks)]
    left = _LEFT
    for curve in shown:
        parts += [*_line(frame, curve), _words(curve.label, left, 12, colour=curve.colour)]
        left += 7 * len(curve.label) + 20
    names = text(", ".join(curve.label for curve in shown))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{names} by step" width="{_WIDTH}" '
        f'height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="11">'
        f"{''.join(parts)}</svg>"
    )


def bar(share: float) -> str:
    """Return a bar as SVG that is filled to a share, 0 to 1."""
    filled = 160 * min(1.0, max(0.0, share))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="162" height="10" viewBox="0 0 162 10" aria-hidden="true">'
        f'<rect x="0.5" y="0.5" width="161" height="9" rx="4" fill="none" stroke="{GREY}"/>'
        f'<rect x="1" y="1" width="{filled:.1f}" height="8" rx="3.5" fill="{BLUE}"/></svg>'
    )


@attrs.frozen
class _Frame:
    """Where the values of a chart lie."""

    first: float
    last: float
    low: float
    high: float

    @classmethod
    def around(cls, points: Sequence[tuple[int, float]]) -> _Frame:
        steps, values = [step for step, _ in points] or [0], [value for _, value in points] or [0.0]
        low, high = min(values), max(values)
        margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
        return cls(min(steps), max(*steps, min(steps) + 1), low - margin, high + margin)

    def x(self, step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (step - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - self.low) / (self.high - self.low)


def _finite(curve: Curve) -> Curve:
    """Return a curve without what cannot be drawn, and thinned."""
    points = [(step, value) for step, value in curve.points if math.isfinite(value) and abs(value) < 1e100]
    kept = extremes(range(len(points)), [value for _, value in points], MOST_POINTS)
    ends = {0, len(points) - 1} if points else set()
    return attrs.evolve(curve, points=[points[index] for index in sorted({*kept, *ends})])


def _line(frame: _Frame, curve: Curve) -> Iterator[str]:
    places = [(f"{frame.x(step):.1f}", f"{frame.y(value):.1f}") for step, value in curve.points]
    joined = " ".join(f"{x},{y}" for x, y in places)
    yield f'<polyline points="{joined}" fill="none" stroke="{curve.colour}" stroke-width="1.5"/>'
    if curve.is_dotted or len(places) == 1:
        yield from (f'<circle cx="{x}" cy="{y}" r="2.5" fill="{curve.colour}"/>' for x, y in places)
    if curve.best is not None:
        step, value = curve.best
        x, y = f"{frame.x(step):.1f}", f"{frame.y(value):.1f}"
        yield f'<circle cx="{x}" cy="{y}" r="6" fill="none" stroke="{curve.colour}" stroke-width="2"/>'


def _grid(frame: _Frame) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value in ticks(frame.low, frame.high):
        y = frame.y(value)
        yield f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="{GREY}" stroke-opacity="0.25"/>'
        yield _words(f"{value:g}", _LEFT - 6, y + 4, anchor="end")
    for step in ticks(frame.first, frame.last):
        if step == int(step):
            yield _words(f"{int(step)}", frame.x(step), bottom + 15, anchor="middle")
    yield _words("step", _LEFT - 12, bottom + 15, anchor="end")
    yield f'<path d="M{_LEFT} {bottom}H{right}" stroke="{GREY}"/>'


def _marks(frame: _Frame, marks: Iterable[int]) -> Iterator[str]:
    """Yield the dashed lines: one for those that would lie on each other."""
    places: list[float] = []
    for step in marks:
        if frame.first <= step <= frame.last and (not places or frame.x(step) - places[-1] >= _MARK_GAP):
            places.append(frame.x(step))
    if places:
        drawn = "".join(f"M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" for x in places)
        yield f'<path d="{drawn}" stroke="{GREY}" stroke-dasharray="3 4" fill="none"/>'


def _words(words: str, x: float, y: float, *, anchor: str = "start", colour: str = GREY) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{text(words)} </text>'


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two others, some five: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= 0.7 * rough)
    return [round(number * step, 12) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
