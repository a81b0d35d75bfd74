"""From a conversation to the tokens that a model continues, with the model's own chat template.

Training and chats render their prompts here, so that a model is trained on the very tokens that it will be asked with.
"""

from __future__ import annotations

import enum
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from arkor.backend.inference.messages import Message, add_to_system, fold_tool_turns
from arkor.backend.inference.reasoning import find_reasoning_marks, opens_reasoning, said_after
from arkor.backend.inference.request import MAX_PROMPT_CHARS
from arkor.backend.inference.special_tokens import EscapedTokenizer
from arkor.backend.inference.text_tokens import TextTokens
from arkor.backend.inference.time_limit import TookTooLong, cpu_time_limit
from arkor.backend.inference.tools import CALL_OPENS, Tools, instructions
from arkor.serving.refusal import Refusal
from arkor.text import first_line

TEMPLATE_CPU_S = 2.0
_CHARS_A_TOKEN = 16  # a text of many long words in a language that the tokenizer knows has 6
_TOOLS = [{"type": "function", "function": {"name": "probe", "description": "", "parameters": {"type": "object"}}}]
_ASKED: Message = {"role": "user", "content": "?"}
_ANSWERED: Message = {"role": "assistant", "content": "probe"}
_CALL = {"id": "probe0000", "type": "function", "function": {"name": "probe", "arguments": {"what": "argument"}}}
_CALLED: Message = {"role": "assistant", "content": "", "tool_calls": [_CALL]}

_Form = Callable[[Message], Message]


class ToolStyle(enum.Enum):
    """What a model's chat template does with tools."""

    ABSENT = "it has no place for them"
    SHOWN = "it shows them, and calls look in a way that is not known here"
    TAGGED = "it shows them, and calls are JSON between <tool_call> marks"


class Prompts:
    """Renders conversations for one model. For the main thread only.

    A chat template is a program of the model's author. One that does not end in time is not run again: each try would
    keep all chats waiting.

    Args:
        tokenizer: of transformers.
        context: how many tokens the model can read, or None.
        escape_special_tokens: keep the special tokens in the text of messages text; those of the template stay special.

    Attributes:
        reasoning_marks: how the model marks its reasoning; None if it has none.
        tool_style: what the template does with tools.

    Raises:
        ConfigError: this tokenizer cannot do what ``escape_special_tokens`` asks for.
    """

    def __init__(self, tokenizer: Any, *, context: int | None = None, escape_special_tokens: bool = False) -> None:
        self._tokenizer = EscapedTokenizer(tokenizer) if escape_special_tokens else tokenizer
        self._tokens = TextTokens(self._tokenizer)
        self._max_chars = MAX_PROMPT_CHARS if context is None else min(context * _CHARS_A_TOKEN, MAX_PROMPT_CHARS)
        self._is_endless = False
        self._blanks: dict[int, bool] = {}  # a million rows ask for the same few tokens
        self._special = frozenset(tokenizer.all_special_ids)
        self.reasoning_marks = find_reasoning_marks(str(tokenizer.chat_template))
        self.tool_style = self._find_tool_style()
        self._form = self._find_form()
        self._call_form = None if self.tool_style is ToolStyle.ABSENT else self._find_call_form()

    @functools.cached_property
    def end_ids(self) -> frozenset[int]:
        """The special tokens that the template puts behind an answer and behind a call: a trained model stops there."""
        ends = [self._end(self._probed([_ASKED, self._form(_ANSWERED)]), "probe")]
        if self._call_form:
            ends.append(self._end(self._probed([_ASKED, self._form(self._call_form(_CALLED))], _TOOLS), "argument"))
        return frozenset().union(*ends)

    def prompt(
        self, messages: Sequence[Message], tools: Tools | None = None, options: Mapping[str, Any] | None = None
    ) -> str:
        """Return the text that a model continues with its answer.

        Args:
            messages: the conversation so far, normalised.
            tools: what the model sees and may call, or None.
            options: see ``render``.

        Raises:
            Refusal: 400, the model cannot chat, its template cannot render these messages or does not end, the prompt
                is too long, or the model cannot decide by itself whether to call a tool.
        """
        if not self._tokenizer.chat_template:
            raise Refusal(
                400,
                "The model has no chat template, so it cannot chat: use an instruct model, or ask for a completion "
                "(arkor chat --raw, result.complete).",
            )
        if tools is not None and tools.choice == "none" and self.tool_style is ToolStyle.ABSENT:
            tools = None  # what would be said of them asks for a call
        if tools is not None and tools.choice == "auto" and self.tool_style is not ToolStyle.TAGGED:
            raise Refusal(
                400,
                "tool_calling_not_configured: this model's chat template does not say how it calls tools, so it cannot "
                "decide by itself. Set toolChoice to required, to none, or to a function.",
            )
        text = self.render(messages, tools, options, add_generation_prompt=True)
        self._check_length(text)
        return text

    def without_reasoning(self, prompt: str, options: Mapping[str, Any] | None = None) -> str:
        """Return a prompt after which the answer comes at once: reasoning that it opened is closed, as in training.

        Args:
            prompt: what ``prompt`` gave.
            options: see ``render``.

        Raises:
            Refusal: 400, as ``render`` does.
        """
        if not opens_reasoning(prompt):
            return prompt
        asked = self.render([_ASKED], None, options, add_generation_prompt=True)
        answer = said_after(asked, self.render([_ASKED, _ANSWERED], None, options)) or ""
        return f"{prompt}{answer.partition(_ANSWERED['content'])[0]}"

    def raw_tokens(self, text: str) -> list[int]:
        """Return the token ids of a text that a model goes on with as it is, without a chat template.

        Raises:
            Refusal: 400, it is too long, or there is no token in it.
        """
        self._check_length(text)
        ids = plain_tokens(self._tokenizer, text)
        if not ids:
            raise Refusal(400, "prompt: is empty, and this model needs a text to go on with.")
        return ids

    def render(
        self,
        messages: Sequence[Message],
        tools: Tools | None,
        options: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = False,
    ) -> str:
        """Return a conversation as the model's chat template shows it.

        Where the template has no place for tools, they are put into the system message. Where it has none for calls,
        they are put into the text of their turn, and answers of tools into turns of the user.

        Args:
            messages: the conversation, normalised.
            tools: what the model may call, or None.
            options: what the template is given beside the conversation, such as ``{"enable_thinking": False}``.
            add_generation_prompt: whether the text ends where an answer begins.

        Raises:
            Refusal: 400, the template cannot render these messages, or does not end.
        """
        turns = list(messages) if self._call_form else fold_tool_turns(messages)
        if tools is not None and self.tool_style is ToolStyle.ABSENT:
            turns, tools = add_to_system(turns, instructions(tools)), None
        if self._call_form:
            turns = [self._call_form(turn) if turn.get("tool_calls") else turn for turn in turns]
        try:
            return self._apply(
                [self._form(turn) for turn in turns],
                tools=tools and tools.wire,
                add_generation_prompt=add_generation_prompt,
                **(options or {}),
            )
        except Refusal:
            raise
        except Exception as exc:  # a template may raise anything
            raise Refusal(400, f"The model's chat template cannot render these messages: {first_line(exc)}") from exc

    def tokens(self, rendered: str) -> list[int]:
        """Return the token ids of a text that ``render`` returned, or of a part of one."""
        return self._tokens.of(rendered)

    def is_blank(self, token: int) -> bool:
        """Say whether a token is nothing but blanks and line breaks."""
        known = self._blanks.get(token)
        return self._blanks.setdefault(token, not self._tokenizer.decode([token]).strip()) if known is None else known

    def _check_length(self, text: str) -> None:
        if len(text) > self._max_chars:
            raise Refusal(
                400,
                f"The prompt has {len(text)} characters, and this model takes at most {self._max_chars}: shorten it.",
            )

    def _end(self, rendered: str, last_word: str) -> frozenset[int]:
        _, is_shown, behind = rendered.rpartition(last_word)
        ids = self.tokens(behind)
        end = answer_end(ids, 0, self._special, self.is_blank)
        return frozenset(ids[end - 1 : end]) & self._special if is_shown else frozenset()

    def _apply(self, turns: list[Message], **how: Any) -> str:
        if not self._is_endless:
            try:
                with cpu_time_limit(TEMPLATE_CPU_S):
                    return str(self._tokenizer.apply_chat_template(turns, tokenize=False, **how))
            except TookTooLong:
                self._is_endless = True
        raise Refusal(
            400, f"The model's chat template did not end within {TEMPLATE_CPU_S:g} s of computing: repair it."
        )

    def _probed(self, turns: list[Message], tools: Any = None) -> str:
        """Return a rendering; nothing where the template cannot do it."""
        try:
            return self._apply(turns, tools=tools) if self._tokenizer.chat_template else ""
        except Exception:  # as in render
            return ""

    def _find_tool_style(self) -> ToolStyle:
        if "probe" not in self._probed([_ASKED], _TOOLS) and "probe" not in self._probed([_in_parts(_ASKED)], _TOOLS):
            return ToolStyle.ABSENT
        template = str(self._tokenizer.chat_template)
        is_json = CALL_OPENS in template and "<function=" not in template
        return ToolStyle.TAGGED if is_json else ToolStyle.SHOWN

    def _find_form(self) -> _Form:
        """Return the form of a message: templates of models that see pictures may want a list of parts."""
        forms = (_unchanged, _in_parts)
        return next((form for form in forms if "probe" in self._probed([_ASKED, form(_ANSWERED)])), _unchanged)

    def _find_call_form(self) -> _Form | None:
        """Return the form of a message with calls in which the template shows them; None if it shows them in none."""
        for form in (_unchanged, _without_content, _with_text_arguments, _as_openai):
            shown = self._probed([_ASKED, self._form(form(_CALLED))], _TOOLS)
            if "argument" in shown and shown.count("probe") > self._probed([_ASKED], _TOOLS).count("probe"):
                return form
        return None


def plain_tokens(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a text that goes on: with the token that begins one, and without the one that ends it."""
    ids = list(tokenizer(text)["input_ids"])
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def answer_end(ids: Sequence[int], start: int, special: frozenset[int], is_blank: Callable[[int], bool]) -> int:
    """Return where an answer ends: behind its end token, and before the blanks that a template puts after it.

    Args:
        ids: tokens up to the end of the answer's turn.
        start: the index of the answer's first token.
        special: the special tokens.
        is_blank: says whether a token is nothing but blanks.
    """
    first = len(ids)
    while first > start and (ids[first - 1] in special or is_blank(ids[first - 1])):
        first -= 1
    while first < len(ids) and ids[first] not in special:  # blanks with which the answer itself ends
        first += 1
    if first == len(ids):
        return len(ids)
    end = first
    while end < len(ids) and ids[end] in special:
        end += 1
    return end


def _unchanged(message: Message) -> Message:
    return message


def _in_parts(message: Message) -> Message:
    return {**message, "content": [{"type": "text", "text": message["content"]}] if message["content"] else []}


def _without_content(message: Message) -> Message:
    return {**message, "content": message["content"] or None}


def _with_text_arguments(message: Message) -> Message:
    calls = []
    for call in message["tool_calls"]:
        text = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        calls.append({**call, "function": {**call["function"], "arguments": text}})
    return {**message, "tool_calls": calls}


def _as_openai(message: Message) -> Message:
    return _without_content(_with_text_arguments(message))
