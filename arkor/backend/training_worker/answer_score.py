"""The score of a model's answers to held-out rows, while it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from arkor.backend.training_worker.answers import Answerer, Question
from arkor.backend.training_worker.rows.asked import AskedRow, choose, request_of, room
from arkor.backend.training_worker.rows.load import Rows
from arkor.errors import ConfigError
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.comparing import compared, scored
from arkor.evaluation.scorer import Scorer
from arkor.evaluation.scorers import SCORERS
from arkor.protocol.evaluations import ADAPTER, DEFAULT_LIMIT
from arkor.serving.refusal import Refusal


class AnswerScore:
    """The score of a model's answers to held-out rows, at most 50, which are the same ones each time.

    Args:
        metric: the score, as a report names it.
        answerer: asks the model.
        tokenizer: the model's.
        rows: the job's rows.
        is_raw: whether the training sees plain text.

    Raises:
        ConfigError: the held-out rows have no such score, or one of them cannot be asked.
        DatasetError: none of them asks anything.
    """

    def __init__(self, metric: str, answerer: Answerer, tokenizer: Any, rows: Rows, *, is_raw: bool) -> None:
        self._metric = metric
        self._answerer = answerer
        asked = choose(rows, None, limit=DEFAULT_LIMIT, is_raw=is_raw).asked
        self._scorer = _scorer_of(metric, asked)
        self._cases = [_case_of(row) for row in asked]
        longest = room(tokenizer, asked)
        self._questions = [self._question(row, longest) for row in asked]

    def measure(self) -> float:
        """Have the rows answered by the model as it is now, and return the score, from 0 to 1."""
        answers = self._answerer.answers(self._questions)
        cases = [
            attrs.evolve(case, answers={ADAPTER: answer}) for case, answer in zip(self._cases, answers, strict=True)
        ]
        found = compared(scored(cases, [self._scorer]), self._scorer, [ADAPTER])
        return next(score.values[ADAPTER] for score in found if score.name == self._metric)

    def _question(self, row: AskedRow, longest: int) -> Question:
        try:
            return self._answerer.question(request_of(row, self._answerer.tool_style, longest))
        except Refusal as exc:
            raise ConfigError("metric_for_best_model", f"row {row.number} cannot be asked: {exc.error}") from exc


def _case_of(row: AskedRow) -> Case:
    question = row.question
    return Case(row=row.number, expected=question.expected, expected_calls=question.expected_calls)


def _scorer_of(metric: str, rows: Sequence[AskedRow]) -> Scorer:
    scorer = next(one for one in SCORERS.values() if metric in one.labels)
    nothing = scored([attrs.evolve(_case_of(row), answers={ADAPTER: Answered()}) for row in rows], [scorer])
    known = {score.name for score in compared(nothing, scorer, [ADAPTER])}
    if metric not in known:
        raise ConfigError("metric_for_best_model", f"the held-out rows have no {metric}: look at a report of such rows")
    return scorer
