"""From the scores of rows to the scores of a report: means, intervals, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from arkor.evaluation.cases import Case
from arkor.evaluation.parts import Comparison, Score, main_comparison
from arkor.evaluation.scorer import OfRows, Scorer
from arkor.evaluation.statistics import SAME, interval_of, mean_interval, verdict_of


def scored(cases: Sequence[Case], scorers: Sequence[Scorer]) -> list[Case]:
    """Return rows with what scorers say of their answers, beside the scores that they have."""
    scores = [{name: dict(by) for name, by in case.scores.items()} for case in cases]
    places = [(place, who) for place, case in enumerate(cases) for who in case.answers]
    pairs = [(cases[place], cases[place].answers[who]) for place, who in places]
    for scorer in scorers:
        found = [scorer.score(*pair) for pair in pairs] if scorer.score_all is None else scorer.score_all(pairs)
        for (place, who), metrics in zip(places, found, strict=True):
            for metric, value in metrics.items():
                scores[place].setdefault(metric, {})[who] = value
    return [attrs.evolve(case, scores=own) for case, own in zip(cases, scores, strict=True)]


def compared(cases: Sequence[Case], scorer: Scorer, candidates: Sequence[str]) -> list[Score]:
    """Return the scores of one scorer, the main one first.

    Args:
        cases: the rows, scored; at least one.
        scorer: the scorer.
        candidates: the one that the others are compared with first.
    """
    of_rows = {one: scorer.of_rows(cases, one) for one in candidates}
    found = []
    for metric, label in scorer.labels_for(cases).items():
        is_mean = metric not in of_rows[candidates[0]]
        score = mean_score(cases, metric if is_mean else next(iter(scorer.labels)), label, scorer.name, candidates)
        if score is not None and not is_mean:
            functions = {one: of_rows[one][metric] for one in candidates}
            score = _not_a_mean(attrs.evolve(score, name=metric), functions, len(cases))
        found += [] if score is None else [score]
    return found


def mean_score(cases: Sequence[Case], metric: str, label: str, scorer: str, candidates: Sequence[str]) -> Score | None:
    """Return a score that is the mean over rows; None if there are no such rows.

    Args:
        cases: the rows; only those count in which all candidates have the metric.
        metric: its name in the rows' scores.
        label: how people read it.
        scorer: the name of the scorer.
        candidates: the one that the others are compared with first.
    """
    rows = [by for case in cases if set(candidates) <= (by := case.scores.get(metric, {})).keys()]
    if not rows:
        return None
    against, *others = candidates
    comparisons = []
    for one in others:
        differences = [row[one] - row[against] for row in rows]
        wins, losses = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
        interval = mean_interval(differences)
        comparisons.append(
            Comparison(
                candidate=one,
                difference=sum(differences) / len(rows),
                low=interval.low,
                high=interval.high,
                wins=wins,
                losses=losses,
                ties=len(rows) - wins - losses,
                verdict=verdict_of(interval, wins + losses),
            )
        )
    values = {one: sum(row[one] for row in rows) / len(rows) for one in candidates}
    return Score(name=metric, scorer=scorer, label=label, values=values, comparisons=comparisons)


def _not_a_mean(main: Score, functions: Mapping[str, OfRows], count: int) -> Score:
    """Return a score that is no mean over the rows.

    Args:
        main: a mean score of the same rows: its wins and losses count.
        functions: compute it, by the candidates, the one first that the others are compared with.
        count: how many rows there are.
    """
    against = next(iter(functions.values()))
    places = range(count)
    comparisons = []
    for one in main.comparisons:
        own = functions[one.candidate]
        interval = interval_of(lambda chosen, own=own: own(chosen) - against(chosen), count)  # type: ignore[misc]
        comparisons.append(
            attrs.evolve(
                one,
                difference=own(places) - against(places),
                low=interval.low,
                high=interval.high,
                verdict=verdict_of(interval, one.wins + one.losses),
            )
        )
    values = {name: function(places) for name, function in functions.items()}
    return attrs.evolve(main, values=values, comparisons=comparisons)


def verdict(scores: Sequence[Score]) -> str:
    """Return the verdict on the first score in words; on the adapter, if it is among the candidates.

    Example:
        ``better: +31 points exactly right, 95 % interval 22 to 40``
    """
    chosen = main_comparison(scores)
    if chosen is None:
        return ""
    words = str(chosen)
    return words if chosen.verdict == SAME else words.replace(" points,", f" points {scores[0].label},", 1)
