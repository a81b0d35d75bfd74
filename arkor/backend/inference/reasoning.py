"""How models mark the reasoning before their answers.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import re

import attrs

_OPENED = re.compile(r"<think>\s*\Z")  # at the end of a prompt


@attrs.frozen
class ReasoningMarks:
    """The texts around the reasoning at the beginning of an answer.

    Attributes:
        opens: stands before the reasoning, in the answer or at the end of its prompt.
        closes: stands between the reasoning and the rest of the answer.
        answers: stands before an answer without reasoning; empty if nothing does.
    """

    opens: str
    closes: str
    answers: str = ""

    def __str__(self) -> str:
        return f"{self.opens}{self.closes}{self.answers}"


_KNOWN = (
    ReasoningMarks("<think>", "</think>"),  # DeepSeek, GLM, LFM, Nemotron, Qwen and most others
    ReasoningMarks("<|channel>thought", "<channel|>"),  # Gemma
    ReasoningMarks(  # gpt-oss
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|channel|>final<|message|>",
    ),
    ReasoningMarks(  # Muse
        "to=self<|message|>", "<|eom|><|start|>assistant to=user<|message|>", "to=user<|message|>"
    ),
)


def opens_reasoning(prompt: str) -> bool:
    """Say whether a prompt ends within the reasoning of the answer."""
    return _OPENED.search(prompt) is not None


def said_after(prompt: str, whole: str, reasoning: str = "") -> str | None:
    """Return what the model has to say after a prompt; None if that cannot be told.

    A generation prompt may open the reasoning, and the finished turn does not show it, or shows it closed at once. Then
    the model, asked so, has to close it: behind the reasoning of the answer, or behind none.

    Args:
        prompt: the conversation before the answer, as it is rendered.
        whole: the same with the answer.
        reasoning: that of the answer.
    """
    if whole.startswith(prompt):
        return whole[len(prompt) :]
    opened = _OPENED.search(prompt)
    if opened is None or not whole.startswith(prompt[: opened.start()]):
        return None
    rest = whole[opened.start() :]
    if rest.startswith("<think>"):
        return rest.removeprefix("<think>").lstrip("\n")
    return f"{reasoning}\n</think>\n\n{rest}"


def find_reasoning_marks(template: str) -> ReasoningMarks | None:
    """Return the marks that a chat template knows; None if it knows no marks that are known here."""
    return next((marks for marks in _KNOWN if marks.opens in template or marks.closes in template), None)
