"""Answers that are one of a few labels: accuracy, F1, and which label is taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from arkor.evaluation import values
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.scorer import OfRows, Scorer

OTHER = "(another answer)"

Pair = tuple[str, str]
"""An expected label, and the one that came."""


def _score(case: Case, answer: Answered) -> Mapping[str, float]:
    return {"accuracy": float(values.label_of(case.expected) == values.label_of(answer.text))}


class Labels(Scorer):
    """Scores labels. An answer is a label if it is the text of one, whatever its case, its quotes and a full stop."""

    def __init__(self) -> None:
        super().__init__("labels", {"accuracy": "right labels", "f1": "macro F1"}, _score)

    def of_rows(self, cases: Sequence[Case], candidate: str) -> Mapping[str, OfRows]:
        """Return F1, which is no mean over the rows."""
        pairs = _pairs(cases, candidate)
        return {"f1": lambda places: macro_f1([pairs[place] for place in places])}

    def details(self, cases: Sequence[Case], candidates: Sequence[str]) -> dict[str, Any]:
        """Return how often each label was answered where each was expected, for each candidate."""
        return {"confusion": {one: confusion(_pairs(cases, one)) for one in candidates}}


def macro_f1(pairs: Sequence[Pair]) -> float:
    """Return the mean of the labels' F1 scores, 0 to 1, over all labels that were expected."""
    right, expected, answered = Counter[str](), Counter[str](), Counter[str]()
    for wanted, came in pairs:
        expected[wanted] += 1
        answered[came] += 1
        right[wanted] += wanted == came
    return sum(2 * right[label] / (count + answered[label]) for label, count in expected.items()) / len(expected)


def confusion(pairs: Sequence[Pair]) -> dict[str, dict[str, int]]:
    """Return how often each label came, by the expected ones."""
    found: dict[str, dict[str, int]] = {}
    for wanted, came in sorted(pairs):
        row = found.setdefault(wanted, {})
        row[came] = row.get(came, 0) + 1
    return found


def _pairs(cases: Sequence[Case], candidate: str) -> list[Pair]:
    known = {values.label_of(case.expected): values.collapsed(case.expected) for case in cases}
    return [
        (known[values.label_of(case.expected)], known.get(values.label_of(case.answers[candidate].text), OTHER))
        for case in cases
    ]
