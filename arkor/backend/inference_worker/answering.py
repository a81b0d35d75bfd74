"""A question made ready to be answered: its prompt as tokens, and a row for each of its answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from arkor.backend.inference.detokenizer import Detokenizer
from arkor.backend.inference.prompts import ToolStyle
from arkor.backend.inference.reasoning import ReasoningMarks
from arkor.backend.inference.request import ChatRequest
from arkor.backend.inference_worker.base import Base
from arkor.backend.inference_worker.choices import Choices
from arkor.backend.inference_worker.echo import Echo, text_offsets
from arkor.backend.inference_worker.grammars import Matcher
from arkor.backend.inference_worker.likelihoods import ShownTokens
from arkor.backend.inference_worker.outputs import (
    CallOutput,
    Output,
    PlainOutput,
    ReasoningParser,
    StopTexts,
    TaggedOutput,
)
from arkor.backend.inference_worker.rows import Row, Say
from arkor.backend.inference_worker.sampling import Sampler


def prompt_ids(
    request: ChatRequest, base: Base, options: Mapping[str, Any], *, escape_special_tokens: bool
) -> list[int]:
    """Return the tokens that the model continues with its answer.

    Args:
        request: what is asked.
        base: the model.
        options: what the chat template is given beside the conversation.
        escape_special_tokens: whether special tokens in messages stay text.

    Raises:
        Refusal: 400, see ``Prompts.prompt`` and ``Prompts.raw_tokens``.
    """
    if request.prompt is not None:
        return base.prompts.raw_tokens(request.prompt)
    prompts = base.escaped_prompts if escape_special_tokens else base.prompts
    text = prompts.prompt(request.messages, request.tools, options)
    return prompts.tokens(prompts.without_reasoning(text, options) if request.is_constrained else text)


def make_choices(
    say: Say, request: ChatRequest, prompt: list[int], base: Base, adapter: str | None, *, is_background: bool
) -> Choices:
    """Return the answers to a question, not begun.

    Args:
        say: tells the server something about the question.
        request: what is asked.
        prompt: its tokens.
        base: the model.
        adapter: as ``Adapters.load`` named it, or None.
        is_background: whether nobody waits for it.

    Raises:
        Refusal: 400, a constraint cannot be enforced, or the tokens of the prompt cannot be told.
    """
    matcher, echo, marks = _matcher(request, base), _echo(request, prompt, base), _marks(request, base)
    before = base.tokenizer.decode(prompt)
    room = request.max_tokens if base.context is None else min(request.max_tokens, base.context - len(prompt))
    choices = Choices(say, adapter)
    for index in range(request.n):

        def make(tell: Say, index: int = index) -> Row:
            return Row(
                tell,
                prompt=prompt,
                adapter=adapter,
                max_tokens=room,
                stop_ids=base.stop_ids,
                detokenizer=Detokenizer(base.tokenizer, str(marks or "")),
                sampler=_sampler(request, index),
                reasoning=ReasoningParser(marks, before),
                output=_output(request, base),
                stops=StopTexts(request.stop),
                matcher=matcher and matcher.copy(),
                tokens=_tokens(request, base),
                echo=echo,
                alone=request.seed is not None or base.adapters.is_lone(adapter),
                is_background=is_background,
            )

        choices.add(make)
    return choices


def choice_seed(seed: int, index: int) -> int:
    """Return the seed of one of the answers to a question: that of the question for the first one.

    Args:
        seed: that of the question.
        index: which answer, from 0 on.
    """
    if index == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {index}".encode()).digest()[:8], "big")


def _sampler(request: ChatRequest, index: int) -> Sampler:
    seed = request.seed
    generator = None if seed is None else torch.Generator().manual_seed(choice_seed(seed, index))
    return Sampler(temperature=request.temperature, top_p=request.top_p, generator=generator)


def _matcher(request: ChatRequest, base: Base) -> Matcher | None:
    if request.tools is not None and request.tools.choice == "required":
        return base.grammars.for_call(request.tools, tagged=_is_tagged(base))
    return base.grammars.for_constraint(request.constraint) if request.constraint is not None else None


def _marks(request: ChatRequest, base: Base) -> ReasoningMarks | None:
    may_reason = request.prompt is None and not request.is_constrained
    return base.prompts.reasoning_marks if may_reason else None


def _output(request: ChatRequest, base: Base) -> Output:
    if request.tools is None or request.tools.choice == "none":
        return PlainOutput()
    return TaggedOutput() if _is_tagged(base) else CallOutput()


def _is_tagged(base: Base) -> bool:
    return base.prompts.tool_style is ToolStyle.TAGGED


def _tokens(request: ChatRequest, base: Base) -> ShownTokens | None:
    if request.logprobs is None:
        return None
    return ShownTokens(base.grammars.token_bytes, request.logprobs, (request.prompt or "") if request.echo else "")


def _echo(request: ChatRequest, prompt: list[int], base: Base) -> Echo | None:
    if not request.echo:
        return None
    text = request.prompt or ""
    offsets = [] if request.logprobs is None else text_offsets(base.tokenizer, text, len(prompt))
    return Echo(text, prompt, offsets, base.grammars.token_bytes, request.logprobs)
