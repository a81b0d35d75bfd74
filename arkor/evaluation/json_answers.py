"""Answers that are JSON objects: whether they are valid, and which fields have the right value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from arkor.evaluation import values
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.scorer import Scorer

MOST_FIELDS = 12  # that get a score of their own: those that most rows expect


def _score(case: Case, answer: Answered) -> Mapping[str, float]:
    expected, found = values.json_object(case.expected), values.json_object(answer.text)
    if expected is None:
        return {}
    right = values.right_fields(expected, found or {})
    return {
        "json_fields": len(right) / len(expected) if expected else float(found == {}),
        "json_exact": float(found is not None and len(right) == len(expected) == len(found)),
        "json_valid": float(found is not None),
        **{_metric(name): float(name in right) for name in expected},
    }


class JsonAnswers(Scorer):
    """Scores JSON objects: the share of the expected fields that are right, and each of these fields."""

    def __init__(self) -> None:
        labels = {"json_fields": "fields right", "json_exact": "all fields right", "json_valid": "valid JSON"}
        super().__init__("json", labels, _score)

    def labels_for(self, cases: Sequence[Case]) -> Mapping[str, str]:
        """Return also the fields that rows expect, in their order there, at most 12."""
        expected = [values.json_object(case.expected) or {} for case in cases]
        counts = Counter(name for fields in expected for name in fields)
        kept = {name for name, _ in counts.most_common(MOST_FIELDS)}
        return {**self.labels, **{_metric(name): f"right {name}" for name in counts if name in kept}}


def _metric(field: str) -> str:
    return f"json_field.{field}"
