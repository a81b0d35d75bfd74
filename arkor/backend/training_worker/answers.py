"""Answers to held-out rows, made by the model that is being trained, as a chat would get them; and their score."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

import attrs
import torch

from arkor.backend.inference.request import ChatRequest, read_completion, read_request
from arkor.backend.inference_worker.answering import make_choices, prompt_ids
from arkor.backend.inference_worker.transformers_engine.base import TransformersBase
from arkor.backend.inference_worker.transformers_engine.model import Model
from arkor.backend.training_worker.rows.asked import AskedRow, choose, request_of, room
from arkor.backend.training_worker.rows.load import Rows
from arkor.errors import ConfigError
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.comparing import compared, scored
from arkor.evaluation.scorer import Scorer
from arkor.evaluation.scorers import SCORERS
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import ADAPTER, DEFAULT_LIMIT
from arkor.serving.refusal import Refusal


class AnswerScore:
    """The score of a model's answers to held-out rows, at most 50, which are the same ones each time.

    Args:
        metric: the score, as a report names it.
        model: of PEFT, with the adapter that is being trained.
        tokenizer: the model's.
        config: the job's settings.
        rows: the job's rows.
        is_raw: whether the training sees plain text.
        check: called between two tokens; raises what ends the evaluation.

    Raises:
        ConfigError: the held-out rows have no such score, or one of them cannot be asked.
        DatasetError: none of them asks anything.
    """

    def __init__(
        self,
        metric: str,
        model: Any,
        tokenizer: Any,
        config: JobConfig,
        rows: Rows,
        *,
        is_raw: bool,
        check: Callable[[], object],
    ) -> None:
        self._metric = metric
        self._check = check
        self._base = _trained(model, tokenizer)
        asked = choose(rows, None, limit=DEFAULT_LIMIT, is_raw=is_raw).asked
        self._scorer = _scorer_of(metric, asked)
        longest = room(tokenizer, asked)
        self._questions = sorted(
            (self._question(row, config, longest) for row in asked), key=lambda question: len(question.prompt)
        )

    def measure(self) -> float:
        """Have the rows answered by the model as it is now, and return the score, from 0 to 1."""
        answers = self._answers()
        cases = [attrs.evolve(question.case, answers={ADAPTER: answers[question]}) for question in self._questions]
        found = compared(scored(cases, [self._scorer]), self._scorer, [ADAPTER])
        return next(score.values[ADAPTER] for score in found if score.name == self._metric)

    def _question(self, row: AskedRow, config: JobConfig, longest: int) -> _Question:
        fields = request_of(row, self._base.prompts.tool_style, longest)
        escapes = bool(config.value("escape_special_tokens"))
        try:
            request = read_completion(fields) if "prompt" in fields else read_request(fields)
            prompt = prompt_ids(request, self._base, config.chat_template_kwargs or {}, escape_special_tokens=escapes)
            self._base.check_length(len(prompt))
        except Refusal as exc:
            raise ConfigError("metric_for_best_model", f"row {row.number} cannot be asked: {exc.error}") from exc
        return _Question(_case_of(row), request, prompt)

    def _answers(self) -> dict[_Question, Answered]:
        """Make all answers, as many at a time as the model can."""
        batch, waiting = self._base.new_batch(), deque(self._questions)
        answers: dict[_Question, _Answer] = {}
        while waiting or batch.rows:
            while waiting and len(batch.rows) < self._base.max_rows:
                question = waiting.popleft()
                answers[question] = _Answer()
                choices = make_choices(
                    answers[question].take, question.request, question.prompt, self._base, None, is_background=True
                )
                batch.add(*choices.unread)
            batch.turn(lambda row, logits: row.advance(logits))
            self._check()
        return {question: answer.whole() for question, answer in answers.items()}


@attrs.frozen(eq=False)
class _Question:
    """A row made ready to be asked: the case that its answer belongs to, the request, and the tokens of the prompt."""

    case: Case
    request: ChatRequest
    prompt: list[int]


@attrs.define
class _Answer:
    """What was said so far of an answer."""

    text: str = ""
    calls: list[Any] = attrs.Factory(list)
    finish_reason: str = ""

    def take(self, **said: Any) -> None:
        """Take in what a row tells, see ``inference.pipes``."""
        self.text += said.get("delta", "")
        self.calls += said.get("toolCalls", [])
        self.finish_reason = said.get("done", {}).get("finishReason", self.finish_reason)

    def whole(self) -> Answered:
        """Return it as a report has it."""
        return Answered(text=self.text, calls=tuple(self.calls), finish_reason=self.finish_reason)


def _trained(model: Any, tokenizer: Any) -> TransformersBase:
    """Return the model that is being trained, with its one adapter, as chats use one.

    What it keeps for the next step must not be made for inference alone.
    """
    adapter = _OneAdapter()
    dtype = str(model.dtype).removeprefix("torch.")
    return TransformersBase(Model(model, adapter, without_gradients=torch.no_grad), tokenizer, adapter, dtype)


class _OneAdapter:
    """The adapter that the model always has."""

    def load(self, name: str, _path: str, _in_use: Collection[str]) -> str:
        """It is there."""
        return name

    def use(self, _rows: Sequence[str | None], *, once: bool = False) -> None:
        """Change nothing."""

    def is_lone(self, _name: str | None) -> bool:
        """All rows have it."""
        return False


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
