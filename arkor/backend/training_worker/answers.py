"""Answers of the model that is being trained, made as a chat would get them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import attrs
import torch

from arkor.backend.inference.prompts import ToolStyle
from arkor.backend.inference.request import ChatRequest, read_completion, read_request
from arkor.backend.inference_worker.answering import make_choices, prompt_ids
from arkor.backend.inference_worker.transformers_engine.base import TransformersBase
from arkor.backend.inference_worker.transformers_engine.model import Model
from arkor.backend.training_worker.limits.device import return_free_memory
from arkor.backend.training_worker.random_state import same_random_state
from arkor.evaluation.cases import Answered
from arkor.protocol.config import JobConfig


@attrs.frozen(eq=False)
class Question:
    """A question that is ready to be asked: the request, and the tokens of its prompt."""

    request: ChatRequest
    prompt: list[int]


class Answerer:
    """Asks the model that is being trained; the training goes on afterwards as if it had not been asked.

    Args:
        trainer: of TRL, with its model and tokenizer.
        config: the job's settings.
        check: called between two tokens; raises what ends the answers.
    """

    def __init__(self, trainer: Any, config: JobConfig, check: Callable[[], object]) -> None:
        self._trainer = trainer
        self._config = config
        self._check = check

    @cached_property
    def _base(self) -> TransformersBase:
        return _trained(self._trainer.model, self._trainer.processing_class)

    @property
    def tool_style(self) -> ToolStyle:
        """How the model's chat template has tools."""
        return self._base.prompts.tool_style

    def question(self, fields: Mapping[str, Any]) -> Question:
        """Make a question ready to be asked.

        Args:
            fields: those of a chat, or of a completion.

        Raises:
            Refusal: 400, it cannot be asked.
        """
        config = self._config
        request = read_completion(fields) if "prompt" in fields else read_request(fields)
        escapes = bool(config.value("escape_special_tokens"))
        prompt = prompt_ids(request, self._base, config.chat_template_kwargs or {}, escape_special_tokens=escapes)
        self._base.check_length(len(prompt))
        return Question(request, prompt)

    def answers(self, questions: Sequence[Question]) -> list[Answered]:
        """Have the questions answered by the model as it is now, as many at a time as it can; in their order."""
        with self._answering():
            made = self._made(questions)
        return [made[question].whole() for question in questions]

    def _made(self, questions: Sequence[Question]) -> dict[Question, _Answer]:
        # Of like lengths, those that are answered together need no padding.
        batch, waiting = self._base.new_batch(), deque(sorted(questions, key=lambda question: len(question.prompt)))
        answers: dict[Question, _Answer] = {}
        while waiting or batch.rows:
            while waiting and len(batch.rows) < self._base.max_rows:
                question = waiting.popleft()
                answers[question] = _Answer()
                choices = make_choices(
                    answers[question].take, question.request, question.prompt, self._base, None, is_background=True
                )
                batch.add(*choices.unread)
            self._check()
            batch.turn(lambda row, logits: row.advance(logits))
        return answers

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Let the model answer inside the block: without dropout, and in the number type that it trains in."""
        model = self._trainer.model
        was_training = model.training
        model.eval()
        try:
            with same_random_state(), self._trainer.compute_loss_context_manager():
                yield
        finally:
            model.train(was_training)
            return_free_memory()


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
