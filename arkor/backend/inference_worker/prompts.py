"""From a conversation to the tokens that the model continues, with the model's own chat template."""

from __future__ import annotations

import enum
from typing import Any

from arkor.backend.inference.messages import Message, add_to_system, fold_tool_turns
from arkor.backend.inference.request import ChatRequest
from arkor.backend.inference.tools import CALL_OPENS, Tools, instructions
from arkor.serving.refusal import Refusal
from arkor.text import first_line

_PROBE = [{"type": "function", "function": {"name": "probe", "description": "", "parameters": {"type": "object"}}}]


class ToolStyle(enum.Enum):
    """What a model's chat template does with tools."""

    ABSENT = "it has no place for them"
    SHOWN = "it shows them, and calls look in a way that is not known here"
    TAGGED = "it shows them, and calls are JSON between <tool_call> marks"


class Prompts:
    """Renders conversations for one model. Not thread-safe.

    Args:
        tokenizer: of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.tool_style = self._find_tool_style() if tokenizer.chat_template else ToolStyle.ABSENT

    def encode(self, request: ChatRequest) -> list[int]:
        """Return the prompt's token ids.

        Raises:
            Refusal: 400, the model cannot chat, its template cannot render these messages, or it cannot decide by
                itself whether to call a tool.
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
            return self._render(messages, tools)
        except Exception as exc:  # a template is a program of the model's author: it may raise anything
            why = first_line(exc)
            raise Refusal(400, f"The model's chat template cannot render these messages: {why}") from exc

    def _render(self, messages: list[Message], tools: Tools | None) -> list[int]:
        return list(
            self._tokenizer.apply_chat_template(
                messages, tools=tools and tools.wire, add_generation_prompt=True, return_dict=False
            )
        )

    def _find_tool_style(self) -> ToolStyle:
        asked = [{"role": "user", "content": "?"}]
        try:
            with_tools = self._tokenizer.apply_chat_template(asked, tools=_PROBE, tokenize=False)
        except Exception:  # as in encode; one that raises on tools has no place for them
            return ToolStyle.ABSENT
        if "probe" not in with_tools:
            return ToolStyle.ABSENT
        template = str(self._tokenizer.chat_template)
        is_json = CALL_OPENS in template and "<function=" not in template
        return ToolStyle.TAGGED if is_json else ToolStyle.SHOWN
