"""Scorers: how right an answer is, from 0 to 1, in one or several respects.

A scorer is found from the expected answers, or named. Protocol: docs/protocol.md, "Evaluations": ``scorers``.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from arkor.errors import ConfigError
from arkor.evaluation import overlap, values
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.json_answers import JsonAnswers
from arkor.evaluation.labels import Labels
from arkor.evaluation.scorer import Scorer
from arkor.options import nearest_name

_LONG_ANSWER = 8  # words: the median answer of rows for which a part of the right words is worth something


def _exact(case: Case, answer: Answered) -> Mapping[str, float]:
    return {"exact_match": float(values.collapsed(case.expected) == values.collapsed(answer.text))}


def _numbers(case: Case, answer: Answered) -> Mapping[str, float]:
    expected, found = values.last_number(case.expected), values.last_number(answer.text)
    if expected is None:
        return {}
    return {"number_match": float(found is not None and values.is_close(expected, found))}


def _calls(case: Case, answer: Answered) -> Mapping[str, float]:
    expected, found = values.plain_calls(case.expected_calls), values.plain_calls(answer.calls)
    names = [[name for name, _ in calls] for calls in (expected, found)]
    return {"call_exact": float(expected == found), "call_name": float(names[0] == names[1])}


EXACT = Scorer("exact", {"exact_match": "exactly right"}, _exact)
JSON = JsonAnswers()
NUMBERS = Scorer("numbers", {"number_match": "right number"}, _numbers)
CALLS = Scorer("calls", {"call_exact": "right call", "call_name": "right function"}, _calls)
OVERLAP = Scorer("overlap", {"chrf": "chrF", "rouge_l": "ROUGE-L"}, overlap.score)
SCORERS: Mapping[str, Scorer] = {one.name: one for one in (EXACT, Labels(), JSON, NUMBERS, OVERLAP, CALLS)}


def find_scorers(cases: Sequence[Case]) -> list[Scorer]:
    """Return the scorers that fit what rows expect, the main one first.

    Args:
        cases: the rows.
    """
    if not cases:
        return []
    texts = [case.expected for case in cases]
    if any(case.expected_calls for case in cases):
        return [CALLS, EXACT] if any(texts) else [CALLS]
    if all(values.json_object(text) is not None for text in texts):
        return [JSON]
    if all(values.is_number(text) for text in texts):
        return [NUMBERS]
    if values.are_labels(texts):
        return [SCORERS["labels"]]
    words = statistics.median(len(text.split()) for text in texts)
    return [OVERLAP, EXACT] if words > _LONG_ANSWER else [EXACT]


def named_scorers(names: Sequence[str]) -> list[Scorer]:
    """Return scorers by their names.

    Raises:
        ConfigError: there is no such scorer; the error names the nearest one.
    """
    for name in names:
        if name not in SCORERS:
            nearest = nearest_name(name, SCORERS)
            advice = f"did you mean {nearest}?" if nearest else f"there are {', '.join(SCORERS)}"
            raise ConfigError("scorers", f"there is no scorer {name!r:.100}; {advice}")
    return [SCORERS[name] for name in dict.fromkeys(names)]
