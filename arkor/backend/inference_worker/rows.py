"""One answer under way: a row of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from arkor.backend.inference.detokenizer import Detokenizer
from arkor.backend.inference_worker.echo import Echo
from arkor.backend.inference_worker.grammars import Matcher
from arkor.backend.inference_worker.likelihoods import ShownTokens
from arkor.backend.inference_worker.outputs import Output, ReasoningParser, StopTexts
from arkor.backend.inference_worker.sampling import Sampler

Say = Callable[..., None]
"""Tells the server something about one answer; see ``pipes``."""


class Row:
    """An answer from its prompt to its last token. Not thread-safe.

    Args:
        say: where its pieces go.
        prompt: token ids, at least one.
        adapter: the adapter's name within its base, None for the base alone.
        max_tokens: how many tokens it may have; 0 only tells the prompt.
        stop_ids: the tokens that end it.
        detokenizer: makes text of its tokens.
        sampler: chooses them.
        reasoning: what of its text is reasoning.
        output: what of the rest is shown.
        stops: the texts that end it.
        matcher: what it is held to, or None.
        tokens: finds the tokens that are told with its text; None if they are not.
        echo: tells the prompt before it; None if it is not told.
        alone: whether it is computed without company: the same question gives the same answer then, and an adapter of
            DoRA cannot be in company.
        is_background: whether nobody waits for it.

    Attributes:
        done: whether it has ended, or nobody waits for it any more.
        last: the token that was chosen last, None before the first.
    """

    def __init__(
        self,
        say: Say,
        *,
        prompt: list[int],
        adapter: str | None,
        max_tokens: int,
        stop_ids: frozenset[int],
        detokenizer: Detokenizer,
        sampler: Sampler,
        reasoning: ReasoningParser,
        output: Output,
        stops: StopTexts,
        matcher: Matcher | None = None,
        tokens: ShownTokens | None = None,
        echo: Echo | None = None,
        alone: bool = False,
        is_background: bool = False,
    ) -> None:
        self.say = say
        self.prompt = prompt
        self.adapter = adapter
        self.echo = echo
        self.alone = alone
        self.is_background = is_background
        self.done = False
        self.last: int | None = None
        self._max_tokens = max_tokens
        self._stop_ids = stop_ids
        self._detokenizer = detokenizer
        self._sampler = sampler
        self._reasoning = reasoning
        self._output = output
        self._stops = stops
        self._matcher = matcher
        self._tokens = tokens
        self._made = 0

    @property
    def longest(self) -> int:
        """How many tokens its prompt and it may have together."""
        return len(self.prompt) + self._max_tokens

    def advance(self, logits_V: torch.Tensor) -> None:  # noqa: N803
        """Choose the next token, and tell what it adds; before the first one, tell the prompt if that is wanted.

        Args:
            logits_V: the model's output behind the last token, float32, (vocabulary,).

        Raises:
            Refusal: the answer cannot go on.
        """
        if self.echo is not None and self.last is None:
            self.say(**self.echo.told())
        if self._max_tokens == 0:
            self._end("length")
            return
        allowed = self._matcher.allowed() if self._matcher is not None else None
        self.last = self._sampler.pick(logits_V, allowed)
        self._made += 1
        complete = self._matcher is not None and self._matcher.take(self.last)
        if self.last not in self._stop_ids:
            self._take(logits_V, self.last)
        if complete or self.last in self._stop_ids or self._stops.was_hit:
            self._end("stop")
        elif self._made >= self._max_tokens:
            self._end("length")

    def _take(self, logits_V: torch.Tensor, token: int) -> None:  # noqa: N803
        text = self._detokenizer.add(token)
        if self._tokens is not None:
            self._tokens.add(logits_V, token, text)
        self._tell(*self._reasoning.feed(text))

    def _tell(self, reasoning: str, text: str) -> None:
        if reasoning:
            self.say(reasoning=reasoning)
        self._leave(self._output.feed(text) if text else "")

    def _leave(self, text: str) -> None:
        """Take what is neither reasoning nor a call; show what of it is before a stop."""
        if self._tokens is not None:
            self._tokens.leave(text, self._reasoning.held + self._output.held)
        self._show("" if self._stops.was_hit else self._stops.feed(text))

    def _show(self, text: str) -> None:
        if text:
            self.say(delta=text, **({} if self._tokens is None else {"logprobs": self._tokens.show(text)}))

    def _end(self, reason: str) -> None:
        self.done = True
        rest = self._detokenizer.finish()
        if self._tokens is not None:
            self._tokens.add_text(rest)
        self._tell(*self._reasoning.feed(rest))
        self._tell(*self._reasoning.finish())
        rest, calls = self._output.finish()
        self._leave(rest)
        self._show(self._stops.finish())
        if calls:
            self.say(toolCalls=calls)
            reason = "tool_calls" if reason == "stop" else reason
        self.say(done={"finishReason": reason, "usage": self._usage()})

    def _usage(self) -> dict[str, Any]:
        prompt, made = len(self.prompt), self._made
        return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
