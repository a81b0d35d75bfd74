"""General questions that tell whether an adapter forgot what its base model knew.

The questions are in ``retention.jsonl``, written for arkor. An answer is right if an accepted one occurs in it.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Mapping, Sequence

import attrs

from arkor.evaluation import values
from arkor.evaluation.cases import Answered, Case

METRIC, LABEL = "right_answer", "right answers"


@attrs.frozen
class RetentionQuestion:
    """A question with a checkable answer.

    Attributes:
        id: its name.
        question: what is asked.
        answers: the accepted answers.
        match: ``word``, the answer has an accepted one as whole words; ``number``, its last number is an accepted one;
            ``exact``, it is an accepted one.

    Example:
        ``RetentionQuestion("capital-france", "What is the capital of France?", ["Paris"])``
    """

    id: str
    question: str
    answers: Sequence[str]
    match: str = "word"

    def is_right(self, answer: str) -> bool:
        """Say whether an answer is right."""
        if self.match == "number":
            found = values.last_number(answer)
            return found is not None and any(values.is_close(float(one), found) for one in self.answers)
        if self.match == "exact":
            return values.label_of(answer) in map(values.label_of, self.answers)
        text = values.collapsed(answer).casefold()
        words = (re.escape(values.collapsed(one).casefold()) for one in self.answers)
        return any(re.search(rf"(?<!\w){one}(?!\w)", text) for one in words)


@functools.cache
def questions() -> tuple[RetentionQuestion, ...]:
    """Return the questions."""
    text = importlib.resources.files("arkor.evaluation").joinpath("retention.jsonl").read_text(encoding="utf-8")
    return tuple(RetentionQuestion(**json.loads(line)) for line in text.splitlines())


def case_of(number: int, question: RetentionQuestion, answers: Mapping[str, Answered]) -> Case:
    """Return a question with the answers to it as a row of a report.

    Args:
        number: its number, from 1.
        question: the question.
        answers: by the names of the candidates.
    """
    return Case(
        row=number,
        messages=[{"role": "user", "content": question.question}],
        expected=" / ".join(question.answers),
        answers=answers,
        scores={METRIC: {who: float(question.is_right(answer.text)) for who, answer in answers.items()}},
    )
