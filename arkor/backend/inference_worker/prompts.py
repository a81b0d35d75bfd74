"""From a conversation to the tokens that the model continues, with the model's own chat template."""

from __future__ import annotations

import enum
from typing import Any

from arkor.backend.inference.messages import Message, add_to_system, fold_tool_turns
from arkor.backend.inference.request import MAX_PROMPT_CHARS, ChatRequest
from arkor.backend.inference.tools import CALL_OPENS, instructions
from arkor.backend.inference_worker.time_limit import TookTooLong, cpu_time_limit
from arkor.serving.refusal import Refusal
from arkor.text import first_line

TEMPLATE_CPU_S = 2.0
_CHARS_A_TOKEN = 16  # a text of many long words in a language that the tokenizer knows has 6
_PROBE = [{"type": "function", "function": {"name": "probe", "description": "", "parameters": {"type": "object"}}}]


class ToolStyle(enum.Enum):
    """What a model's chat template does with tools."""

    ABSENT = "it has no place for them"
    SHOWN = "it shows them, and calls look in a way that is not known here"
    TAGGED = "it shows them, and calls are JSON between <tool_call> marks"


class Prompts:
    """Renders conversations for one model. Not thread-safe.

    A chat template is a program of the model's author. One that does not end in time is not run again: each try would
    keep all chats waiting.

    Args:
        tokenizer: of transformers.
        context: how many tokens the model can read, or None.
    """

    def __init__(self, tokenizer: Any, context: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._max_chars = MAX_PROMPT_CHARS if context is None else min(context * _CHARS_A_TOKEN, MAX_PROMPT_CHARS)
        self._is_endless = False
        self.tool_style = self._find_tool_style() if tokenizer.chat_template else ToolStyle.ABSENT

    def encode(self, request: ChatRequest) -> list[int]:
        """Return the prompt's token ids.

        Raises:
            Refusal: 400, the model cannot chat, its template cannot render these messages or does not end, the prompt
                is too long, or the model cannot decide by itself whether to call a tool.
        """
        if not self._tokenizer.chat_template:
            raise Refusal(400, "The model has no chat template, so it cannot chat: use an instruct model.")
        tools, messages = request.tools, request.messages
        if tools is not None and not tools.required and self.tool_style is not ToolStyle.TAGGED:
            raise Refusal(
                400,
                "tool_calling_not_configured: this model's chat template does not say how it calls tools, so it cannot "
                "decide by itself. Set toolChoice to required, to none, or to a function.",
            )
        if self.tool_style is ToolStyle.ABSENT:
            messages = fold_tool_turns(messages)
            if tools is not None:
                messages, tools = add_to_system(messages, instructions(tools)), None
        try:
            text = self._render(messages, None if tools is None else tools.wire)
            self._check_length(text)
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        except Refusal:
            raise
        except Exception as exc:  # a template may raise anything
            raise Refusal(400, f"The model's chat template cannot render these messages: {first_line(exc)}") from exc

    def _render(self, messages: list[Message], tools: list[dict[str, Any]] | None) -> str:
        if not self._is_endless:
            try:
                with cpu_time_limit(TEMPLATE_CPU_S):
                    return str(
                        self._tokenizer.apply_chat_template(
                            messages, tools=tools, add_generation_prompt=True, tokenize=False
                        )
                    )
            except TookTooLong:
                self._is_endless = True
        raise Refusal(
            400, f"The model's chat template did not end within {TEMPLATE_CPU_S:g} s of computing: repair it."
        )

    def _check_length(self, text: str) -> None:
        if len(text) > self._max_chars:
            raise Refusal(
                400,
                f"The prompt has {len(text)} characters, and this model takes at most {self._max_chars}: shorten the "
                "messages.",
            )

    def _find_tool_style(self) -> ToolStyle:
        try:
            with_tools = self._render([{"role": "user", "content": "?"}], _PROBE)
        except Exception:  # as in encode; one that raises on tools has no place for them
            return ToolStyle.ABSENT
        if "probe" not in with_tools:
            return ToolStyle.ABSENT
        template = str(self._tokenizer.chat_template)
        is_json = CALL_OPENS in template and "<function=" not in template
        return ToolStyle.TAGGED if is_json else ToolStyle.SHOWN
