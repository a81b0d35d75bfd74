"""How often the intervals and the verdicts of reports are right: ``python bench/intervals.py``.

Simulates 1,000 tables a case. In the first cases both candidates are of the same quality: 95 % of the intervals should
have zero in them, and at most 5 % of the verdicts may be "better". In the last one a candidate wins 20 rows of 200 more
than it loses, and at most 40 rows differ: at least 95 % of the verdicts should be "better". Another share exits with 1.
If few rows differ, no method comes close to 95 %: the interval then has zero in it more often.

It needs nothing but arkor, and takes some minutes: ``--tables`` sets how many tables a case has.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence

import attrs
import click

from arkor.evaluation.labels import macro_f1
from arkor.evaluation.statistics import BETTER, Interval, interval_of, mean_interval, verdict_of

SEED = 11
LOWEST_COVER, MOST_FALSE, LEAST_SEEN = 0.93, 0.05, 0.95
LABELS = "abcdefgh"

Table = tuple[Interval, int]
"""The interval of a simulated table, and how many of its rows differ."""


@attrs.frozen
class Case:
    """A kind of tables.

    Attributes:
        name: for people.
        simulate: makes one.
        has_gain: whether one candidate is better.
    """

    name: str
    simulate: Callable[[random.Random], Table]
    has_gain: bool = False


def of_means(differences: Sequence[float]) -> Table:
    """Return a table of a mean score."""
    return mean_interval(differences), sum(value != 0 for value in differences)


def signs(rows: int, differing: float) -> Callable[[random.Random], Table]:
    """Return tables in which a share of the rows differs, either way."""
    return lambda chance: of_means(
        [chance.choice((-1.0, 1.0)) if chance.random() < differing else 0.0 for _ in range(rows)]
    )


def many_values(rows: int) -> Callable[[random.Random], Table]:
    """Return tables of a score that takes many values, as chrF."""
    return lambda chance: of_means([max(-1.0, min(1.0, chance.gauss(0, 0.2))) for _ in range(rows)])


def f1(chance: random.Random) -> Table:
    """Return a table of the F1 scores of two candidates, each of which is right on 80 % of 80 rows."""
    expected = [chance.choice(LABELS) for _ in range(80)]
    said = [[one if chance.random() < 0.8 else chance.choice(LABELS) for one in expected] for _ in range(2)]

    def difference(places: Sequence[int]) -> float:
        first, second = (macro_f1([(expected[place], one[place]) for place in places]) for one in said)
        return first - second

    return interval_of(difference, len(expected)), sum(map(str.__ne__, *said))


def gain(chance: random.Random) -> Table:
    """Return a table of 200 rows, 20 more of them won than lost, at most 40 of them different."""
    losses = chance.randint(0, 10)
    return of_means([1.0] * (20 + losses) + [-1.0] * losses + [0.0] * (180 - 2 * losses))


CASES = (
    *(Case(f"{rows} rows, {share:.0%} differ", signs(rows, share)) for rows in (40, 80, 200) for share in (0.1, 0.4)),
    Case("40 rows, a score of many values", many_values(40)),
    Case("80 rows, F1 of eight labels", f1),
    Case("200 rows, 20 more won than lost", gain, has_gain=True),
)


@click.command()
@click.option("--tables", type=click.IntRange(20), default=1000, show_default=True, help="Tables of each case.")
def main(tables: int) -> None:
    """Measure, and exit with 1 if a share is out of its bounds."""
    chance, good = random.Random(SEED), True
    for case in CASES:
        found = [case.simulate(chance) for _ in range(tables)]
        covered = sum(interval.low <= 0 <= interval.high for interval, _ in found) / tables
        better = sum(verdict_of(interval, differing) == BETTER for interval, differing in found) / tables
        is_good = better >= LEAST_SEEN if case.has_gain else covered >= LOWEST_COVER and better <= MOST_FALSE
        good &= is_good
        click.echo(f"{case.name:34} zero within {covered:6.1%}   better {better:6.1%}{'' if is_good else '   BAD'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
