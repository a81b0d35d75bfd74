"""Which tokens of a conversation the assistant says, found with the model's own chat template.

For each answer the prompt is rendered as a chat would render it, and then the same turns with the answer. What the
second adds to the first is what the model has to produce at that point, its end token included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from arkor.backend.inference.messages import Message, normalise
from arkor.backend.inference.prompts import Prompts, ToolStyle, answer_end
from arkor.backend.inference.reasoning import said_after
from arkor.backend.inference.special_tokens import special_pattern, texts_in
from arkor.backend.inference.tools import Tools, read_tools
from arkor.backend.training_worker.examples.lost_parts import LostPart, lost_parts, unseen_keys
from arkor.serving.refusal import Refusal


class RowProblem(Exception):
    """Why a row cannot be tokenised; the caller knows which row it is."""


@attrs.frozen
class Encoded:
    """One example: a conversation, or a part of it, as tokens.

    Attributes:
        input_ids: token ids, in order.
        counted: for each token, whether the loss counts it.
        ends: for each answer that counts, the index behind its end token; of a text, the index behind its own.
        lost: the fields that the template left out of its row, where that is allowed.
        unseen: the keys of its row's messages that the model does not see, see ``unseen_keys``.
        has_special_text: whether the text of a message or a tool of its row became a special token.
    """

    input_ids: list[int]
    counted: list[bool]
    ends: tuple[int, ...]
    lost: frozenset[str] = frozenset()
    unseen: tuple[str, ...] = ()
    has_special_text: bool = False


class ChatEncoder:
    """Tokenises conversations with a tokenizer's chat template.

    Args:
        tokenizer: of transformers, with a chat template.
        options: what the template is given beside the conversation, such as ``{"enable_thinking": False}``.
        may_lose: fields that the template may leave out, see ``LostPart``.
        escape_special_tokens: see ``Prompts``.

    Raises:
        ConfigError: as ``Prompts`` does.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        options: Mapping[str, Any] | None = None,
        may_lose: Iterable[str] = (),
        escape_special_tokens: bool = False,
    ) -> None:
        self._options = options
        self._may_lose = frozenset(may_lose)
        self._tokenizer = tokenizer
        self._prompts = Prompts(tokenizer, escape_special_tokens=escape_special_tokens)
        self._special_text = None if escape_special_tokens else special_pattern(tokenizer)
        self._special = frozenset(tokenizer.all_special_ids)

    def encode(self, messages: Sequence[Mapping[str, Any]], *, learn_from: int = 0, tools: Any = None) -> list[Encoded]:
        """Tokenise a conversation; the loss counts its assistant turns, those of ``weight`` 0 excepted.

        Args:
            messages: its turns, at least one of them the assistant's.
            learn_from: index of the first message whose answer counts.
            tools: what the assistant may call, as a row has them, or None.

        Returns:
            One example. If the template or the tokenizer shows earlier turns differently once the conversation goes
            on: one example for each answer, with the prompt that a chat would send at that point. None at all if no
            answer counts.

        Raises:
            RowProblem: the template cannot render it, or leaves tools or calls away, or an answer cannot be told
                apart from its prompt.
        """
        turns, offered = _normalised(messages), _tools(tools)
        places = [place for place in range(learn_from, len(turns)) if _counts(messages[place])]
        if not places:
            return []
        lost: set[str] = set()
        answers = [self._answer(turns, place, offered, lost) for place in places]
        said = {place: answer.said for place, answer in zip(places, answers, strict=True)}
        self._check(lost_parts(turns[: places[-1] + 1], offered, [answer.prompt for answer in answers], said), lost)
        shown = "\n".join(answer.prompt + answer.said for answer in answers)
        found = {
            "lost": frozenset(lost),
            "unseen": unseen_keys(messages, turns, shown),
            "has_special_text": self._has_special_text(turns[: places[-1] + 1], offered),
        }
        if self._is_one(answers):
            return [_encoded(answers[-1].ids, answers, **found)]
        return [_encoded(answer.ids, [answer], **found) for answer in answers]

    def encode_all(self, messages: Sequence[Mapping[str, Any]], *, tools: Any = None) -> Encoded:
        """Tokenise a conversation; the loss counts all of it.

        Raises:
            RowProblem: the template cannot render it.
        """
        turns, offered = _normalised(messages), _tools(tools)
        text = self._render(turns, offered)
        lost: set[str] = set()
        self._check(lost_parts(turns, offered, [text], {}), lost)
        ids = self._prompts.tokens(text)
        return Encoded(
            ids,
            [True] * len(ids),
            (len(ids),),
            lost=frozenset(lost),
            unseen=unseen_keys(messages, turns, text),
            has_special_text=self._has_special_text(turns, offered),
        )

    def _answer(self, turns: list[Message], place: int, tools: Tools | None, lost: set[str]) -> _Answer:
        turn = turns[place]
        if self._prompts.tool_style is ToolStyle.ABSENT and not turn.get("tool_calls"):
            tools = None  # a chat offers them only where it asks for a call
        whole = self._render(turns[: place + 1], tools)
        prompt = self._prompt(turns[:place], tools, whole, turn)
        said = said_after(prompt, whole, turn.get("reasoning_content", ""))
        if said is None and turn.get("reasoning_content"):  # as if the generation prompt says that there is none
            self._check([LostPart("reasoning_content", place + 1)], lost)
            bare = {key: value for key, value in turn.items() if key not in {"reasoning_content", "thinking"}}
            return self._answer([*turns[:place], bare], place, tools, lost)
        if said is None:
            raise RowProblem(
                f"message {place + 1}: the model's chat template renders the turns before this answer differently with "
                "and without it, so the answer cannot be told apart: set train_on_responses_only=False"
            )
        before = self._prompts.tokens(prompt)
        ids = self._prompts.tokens(prompt + said)
        if ids[: len(before)] != before:  # a token spans the seam; in a chat the prompt ends there, so it must here
            ids = before + self._prompts.tokens(said)
        end = answer_end(ids, len(before), self._special, self._prompts.is_blank)
        is_ended = end > len(before) and ids[end - 1] in self._special
        if not is_ended:  # such a template would teach the model never to stop
            ids, end = [*ids, self._tokenizer.eos_token_id], len(ids) + 1
        return _Answer(prompt, said, ids, len(before), end, is_ended)

    def _prompt(self, turns: list[Message], tools: Tools | None, whole: str, answer: Message) -> str:
        if turns:
            return self._render(turns, tools, add_generation_prompt=True)
        try:  # no chat starts so, but a row may
            opening = self._render([], tools, add_generation_prompt=True)
        except RowProblem:
            opening = ""
        if opening and whole.startswith(opening):
            return opening
        return whole[: max(0, whole.find(answer["content"].strip()))]

    def _has_special_text(self, turns: list[Message], tools: Tools | None) -> bool:
        texts = texts_in((turns, tools and tools.wire))
        return self._special_text is not None and any(map(self._special_text.search, texts))

    def _check(self, parts: Sequence[LostPart], lost: set[str]) -> None:
        """Refuse a row that loses a field that it may not lose; note the others."""
        fatal = [str(part) for part in parts if part.field not in self._may_lose]
        if fatal:
            raise RowProblem(
                f"the model's chat template leaves out {' and '.join(fatal)}; to train without, set "
                "allow_dropped_fields"
            )
        lost.update(part.field for part in parts)

    def _render(self, turns: list[Message], tools: Tools | None, *, add_generation_prompt: bool = False) -> str:
        try:
            return self._prompts.render(turns, tools, self._options, add_generation_prompt=add_generation_prompt)
        except Refusal as exc:
            raise RowProblem(_as_row(exc)) from exc

    def _is_one(self, answers: Sequence[_Answer]) -> bool:
        """Say whether the last answer's example holds the others as they are."""
        ids = answers[-1].ids
        return all(answer.is_ended and ids[: answer.end] == answer.ids[: answer.end] for answer in answers[:-1])


@attrs.frozen
class _Answer:
    """A conversation up to an answer.

    Attributes:
        prompt: the text that a chat sends at that point.
        said: the text that the model has to produce.
        ids: its tokens.
        start: the index of the answer's first token.
        end: the index behind its end token.
        is_ended: whether the template gave it that token.
    """

    prompt: str
    said: str
    ids: list[int]
    start: int
    end: int
    is_ended: bool


def _encoded(ids: list[int], answers: Sequence[_Answer], **found: Any) -> Encoded:
    counted = [False] * len(ids)
    for answer in answers:
        counted[answer.start : answer.end] = [True] * (answer.end - answer.start)
    return Encoded(ids, counted, tuple(answer.end for answer in answers), **found)


def _counts(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "assistant" and message.get("weight", 1) != 0


def _normalised(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    try:
        return normalise(messages)
    except Refusal as exc:
        raise RowProblem(_as_row(exc)) from exc


def _tools(value: Any) -> Tools | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as exc:
            raise RowProblem("tools is a text that is not JSON") from exc
    try:
        return read_tools(value, None)
    except Refusal as exc:
        raise RowProblem(_as_row(exc)) from exc


def _as_row(refusal: Refusal) -> str:
    """Return a chat's refusal as a row's reason: without the full stop, and not as the beginning of a sentence."""
    text = refusal.error.rstrip(".")
    return text[:1].lower() + text[1:]
