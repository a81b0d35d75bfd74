"""Which tokens of a conversation the assistant says, found with the model's own chat template.

For each assistant turn the template is rendered twice: the turns before it with the generation prompt, and the same
turns with the answer. What the second adds to the first is exactly what the model has to produce at that point, its
end token included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from arkor.text import first_line

Message = dict[str, Any]


class RowProblem(Exception):
    """Why a row cannot be tokenised; the caller knows which row it is."""


@attrs.frozen
class Encoded:
    """A tokenised row.

    Attributes:
        input_ids: token ids, in order.
        counted: for each token, whether the loss counts it.
    """

    input_ids: list[int]
    counted: list[bool]


class ChatEncoder:
    """Tokenises conversations with a tokenizer's chat template.

    Args:
        tokenizer: of transformers, with a chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)

    def encode(self, messages: Sequence[Mapping[str, Any]], *, learn_from: int = 0, tools: Any = None) -> Encoded:
        """Tokenise a conversation; the loss counts its assistant turns.

        Args:
            messages: its turns, at least one of them the assistant's.
            learn_from: index of the first message whose answer counts.
            tools: what the assistant may call, as the template takes it, or None.

        Raises:
            RowProblem: the template cannot render it, or not in a way that lets the answers be told apart.
        """
        turns, tools = [_normalised(message) for message in messages], _tools(tools)
        answers = [place for place, turn in enumerate(turns) if turn["role"] == "assistant" and place >= learn_from]
        turns = turns[: answers[-1] + 1]  # what follows the last answer teaches nothing
        ids = self._render(turns, tools)
        if tools and ids == self._render(turns, None):
            raise RowProblem("the model's chat template has no place for tools")
        found = [self._answer(turns, place, tools) for place in answers]
        if any(answer is None or not _starts_with(ids, answer.ids) for answer in found):
            # The template shows earlier turns differently once the conversation goes on: learn the last answer only.
            found = found[-1:]
        spans = [answer for answer in found if answer is not None]
        if not spans:
            raise RowProblem(
                "the model's chat template renders the turns before an answer differently with and without it, so "
                "the answer cannot be told apart: set train_on_responses_only=False"
            )
        return self._counted(spans)

    def encode_all(self, messages: Sequence[Mapping[str, Any]], *, tools: Any = None) -> Encoded:
        """Tokenise a conversation; the loss counts all of it.

        Raises:
            RowProblem: the template cannot render it.
        """
        ids = self._render([_normalised(message) for message in messages], _tools(tools))
        return Encoded(ids, [True] * len(ids))

    def _render(self, turns: list[Message], tools: Any, *, generation_prompt: bool = False) -> list[int]:
        return list(self._apply(turns, tools=tools, add_generation_prompt=generation_prompt, return_dict=False))

    def _added_text(self, turns: list[Message], answered: list[Message], tools: Any) -> str | None:
        before = str(self._apply(turns, tools=tools, add_generation_prompt=True, tokenize=False))
        whole = str(self._apply(answered, tools=tools, tokenize=False))
        return whole[len(before) :] if whole.startswith(before) else None

    def _apply(self, turns: list[Message], **how: Any) -> Any:
        try:
            return self._tokenizer.apply_chat_template(turns, **how)
        except Exception as exc:  # a template is a program of the model's author: it may raise anything
            raise RowProblem(f"the model's chat template cannot render it: {_first_line(exc)}") from exc

    def _answer(self, turns: list[Message], place: int, tools: Any) -> _Answer | None:
        before = self._render(turns[:place], tools, generation_prompt=True) if place else []
        ids = self._render(turns[: place + 1], tools)
        if not _starts_with(ids, before):
            added = self._added_text(turns[:place], turns[: place + 1], tools)
            if added is None:
                return None
            # A token spans the seam; at inference the prompt ends there, so it has to end there now.
            ids = before + list(self._tokenizer(added, add_special_tokens=False)["input_ids"])
        self._check_calls(turns[place], ids[len(before) :])
        return _Answer(ids, len(before))

    def _check_calls(self, turn: Message, ids: list[int]) -> None:
        calls = turn.get("tool_calls") or []
        text = self._tokenizer.decode(ids) if calls else ""
        for call in calls:
            if call["function"]["name"] not in text:
                raise RowProblem("the model's chat template leaves tool_calls away, so they cannot be learnt")

    def _counted(self, spans: Sequence[_Answer]) -> Encoded:
        ids = list(spans[-1].ids)
        counted = [False] * len(ids)
        for span in spans:
            for place in range(span.start, self._end(span)):
                counted[place] = True
        if not any(token in self._special for token in ids[spans[-1].start :]):
            # A template without an end token would teach the model never to stop.
            ids.append(self._tokenizer.eos_token_id)
            counted.append(True)
        return Encoded(ids, counted)

    def _end(self, span: _Answer) -> int:
        """Return where an answer ends: with its end token, not with the blanks a template puts after it."""
        last = len(span.ids)
        while last > span.start and span.ids[last - 1] not in self._special:
            if self._tokenizer.decode([span.ids[last - 1]]).strip():
                return len(span.ids)
            last -= 1
        return last if last > span.start else len(span.ids)


@attrs.frozen
class _Answer:
    """A conversation up to an answer, and where that answer starts in it."""

    ids: list[int]
    start: int


def _starts_with(ids: list[int], prefix: list[int]) -> bool:
    return ids[: len(prefix)] == prefix


def _normalised(message: Mapping[str, Any]) -> Message:
    """Return a message whose content is text: most templates know nothing else."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    return {**message, "content": content or ""}


def _tools(value: Any) -> Any:
    if not isinstance(value, str):
        return value or None
    try:
        return json.loads(value) or None
    except ValueError as exc:
        raise RowProblem("tools is a text that is not JSON") from exc


def _first_line(exc: Exception) -> str:
    return first_line(exc)
