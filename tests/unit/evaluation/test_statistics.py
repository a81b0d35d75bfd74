"""Intervals and verdicts: right as often as they say, and careful with few rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from arkor.evaluation.labels import macro_f1
from arkor.evaluation.statistics import FEWEST_DIFFERING, interval_of, mean_interval, verdict_of

TABLES = 200  # bench/intervals.py takes 1,000


def signs(rows: int, differing: float, chance: random.Random) -> list[float]:
    """Return the differences of two candidates of the same quality: a share of the rows differs, either way."""
    return [chance.choice((-1.0, 1.0)) if chance.random() < differing else 0.0 for _ in range(rows)]


def verdict(differences: Sequence[float]) -> str:
    """Return the verdict on a mean difference."""
    return verdict_of(mean_interval(differences), sum(value != 0 for value in differences))


@pytest.mark.parametrize(
    "table",
    [
        lambda chance: signs(80, 0.1, chance),
        lambda chance: signs(80, 0.4, chance),
        lambda chance: [chance.uniform(-0.5, 0.5) for _ in range(40)],
    ],
    ids=["few rows differ", "many rows differ", "a score of many values"],
)
def test_candidates_of_the_same_quality_are_mostly_within_the_interval(
    table: Callable[[random.Random], list[float]],
) -> None:
    """95 % of the intervals have zero in them; of 200 tables, 90 % is four standard errors away."""
    chance = random.Random(7)
    tables = [table(chance) for _ in range(TABLES)]
    intervals = [mean_interval(one) for one in tables]
    verdicts = [verdict_of(interval, len(one) - one.count(0)) for interval, one in zip(intervals, tables, strict=True)]
    assert sum(one.low <= 0 <= one.high for one in intervals) >= 0.9 * TABLES
    assert verdicts.count("better") <= 0.06 * TABLES


def test_a_gain_of_twenty_rows_of_two_hundred_is_seen() -> None:
    """Whatever the number of rows that differ, up to 40."""
    for losses in range(11):
        assert verdict([1.0] * (20 + losses) + [-1.0] * losses + [0.0] * (180 - 2 * losses)) == "better"
        assert verdict([-1.0] * (20 + losses) + [1.0] * losses + [0.0] * (180 - 2 * losses)) == "worse"


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_a_few_wins_in_a_row_are_no_verdict(rows: int) -> None:
    """A fair coin does that too often."""
    assert verdict([1.0] * rows) == "no difference"
    assert verdict([1.0] * rows + [0.0] * 40) == "no difference"


def test_six_wins_of_six_are_a_verdict() -> None:
    """The fewest that are."""
    assert verdict([1.0] * FEWEST_DIFFERING) == "better"


@pytest.mark.parametrize("value", [1.0, 0.0, -1.0])
def test_the_interval_of_rows_that_are_all_alike_has_a_width(value: float) -> None:
    """Forty rows of a kind do not exclude that one in twelve is of another; the ends stay possible."""
    found = mean_interval([value] * 40)
    assert found.high - found.low == pytest.approx(2 * (1 - 0.025 ** (1 / 40)))
    assert -1 <= found.low <= value <= found.high <= 1


def test_the_same_rows_give_the_same_interval() -> None:
    """Chance has a seed."""
    differences = signs(30, 0.5, random.Random(1))
    assert mean_interval(differences) == mean_interval(differences)


def test_an_interval_of_another_statistic() -> None:
    """Of the difference of two F1 scores; the means of both ways agree."""
    chance = random.Random(3)
    expected = [chance.choice("abc") for _ in range(60)]
    good, bad = ([label if chance.random() < share else "a" for label in expected] for share in (0.95, 0.5))

    def difference(places: Sequence[int]) -> float:
        first, second = ([(expected[place], said[place]) for place in places] for said in (good, bad))
        return macro_f1(first) - macro_f1(second)

    found = interval_of(difference, 60)
    assert 0 < found.low < difference(range(60)) < found.high < 1
    means = [1.0, 0.0, -1.0, 1.0, 0.0, 1.0, 1.0, 0.0]
    assert interval_of(lambda places: sum(means[place] for place in places) / 8, 8) == mean_interval(means)
