"""Curves as SVG: what is drawn, how large it is, and that nothing in it is obeyed."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import pytest

from arkor.drawing.chart import MOST_POINTS, Curve, bar, loss_curves, plot, svg, ticks

SVG = "{http://www.w3.org/2000/svg}"
FALLING = [(step, 1 / step) for step in range(1, 41)]
HELD_OUT = [(10, 0.5), (20, 0.25), (30, 0.5)]


def drawn(text: str) -> ElementTree.Element:
    """Return a drawing, which is well-formed."""
    return ElementTree.fromstring(text)


def test_both_losses_are_drawn_with_the_best_marked_and_a_line_for_each_checkpoint() -> None:
    """Training as a line, held-out rows with a dot for each evaluation and a ring around the best one."""
    picture = drawn(svg(loss_curves(FALLING, HELD_OUT, (20, 0.25)), [10, 20, 30]))
    line, other = picture.iter(f"{SVG}polyline")
    assert [len(one.attrib["points"].split()) for one in (line, other)] == [40, 3]
    *dots, ring = picture.iter(f"{SVG}circle")
    assert len(dots) == 3
    assert (ring.attrib["cx"], ring.attrib["cy"]) == (dots[1].attrib["cx"], dots[1].attrib["cy"])
    dashed = next(one for one in picture.iter(f"{SVG}path") if "stroke-dasharray" in one.attrib)
    assert dashed.attrib["d"].count("M") == 3


def test_ten_thousand_steps_take_few_points_and_keep_the_ends_and_the_peak() -> None:
    """The drawing stays small, however long the run."""
    points = [(step, 9.0 if step == 5000 else math.exp(-step / 1000)) for step in range(10_000)]
    text = svg([Curve(label="loss", points=points)], range(0, 10_000, 2))
    assert len(text) < 10 * 1024
    places = next(drawn(text).iter(f"{SVG}polyline")).attrib["points"].split()
    assert len(places) <= MOST_POINTS + 2
    assert (places[0].split(",")[0], places[-1].split(",")[0]) == ("48.0", "620.0")
    assert min(float(place.split(",")[1]) for place in places) < 30  # the peak is at the top


@pytest.mark.parametrize("points", [[], [(1, math.nan)], [(1, 2.0)], [(1, 0.0), (2, 0.0)], [(1, math.inf), (2, 1e300)]])
def test_any_points_can_be_drawn(points: list[tuple[int, float]]) -> None:
    """None, one, equal ones, and values that no axis has room for."""
    assert "nan" not in svg([Curve(label="loss", points=points)], [1]).lower()


def test_a_name_is_text_and_never_an_element() -> None:
    """It may come from another user."""
    text = svg([Curve(label='<script>"', points=FALLING)])
    assert "<script" not in text
    assert '<script>" ' in [one.text for one in drawn(text).iter(f"{SVG}text")]


def test_a_drawing_has_neither_style_nor_script() -> None:
    """Where a saved notebook is shown, both are taken out."""
    text = svg(loss_curves(FALLING, HELD_OUT, None), [3]) + bar(0.5)
    assert "style" not in text
    assert "class" not in text


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(0.3, 2.9, [0.5, 1, 1.5, 2, 2.5]), (0, 60, [0, 10, 20, 30, 40, 50, 60]), (1, 2, [1, 1.2, 1.4, 1.6, 1.8, 2])],
)
def test_an_axis_has_round_numbers(low: float, high: float, found: list[float]) -> None:
    """Some five of them."""
    assert ticks(low, high) == found


def test_a_bar_is_filled_to_its_share() -> None:
    """And never beyond its end."""
    widths = [[one.attrib["width"] for one in drawn(bar(share)).iter(f"{SVG}rect")][1] for share in (0, 0.5, 7)]
    assert widths == ["0.0", "80.0", "160.0"]


class Axis:
    """Notes what is drawn, as an axis of matplotlib would draw it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: self.calls.append((name, args, options))


def test_an_axis_of_matplotlib_that_is_given_is_drawn_on_and_returned() -> None:
    """The same curves, the best and the checkpoints."""
    axis = Axis()
    assert plot(loss_curves(FALLING, HELD_OUT, (20, 0.25)), [10], axis) is axis
    assert [name for name, *_ in axis.calls] == [
        "plot",
        "plot",
        "plot",
        "axvline",
        "set_xlabel",
        "set_ylabel",
        "legend",
    ]
    assert axis.calls[1][1] == ((10, 20, 30), (0.5, 0.25, 0.5))
    assert axis.calls[2][1] == (20, 0.25)
    assert axis.calls[3][1] == (10,)
