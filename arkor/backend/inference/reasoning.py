"""How models mark the reasoning before their answers.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import attrs


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


def find_reasoning_marks(template: str) -> ReasoningMarks | None:
    """Return the marks that a chat template knows; None if it knows no marks that are known here."""
    return next((marks for marks in _KNOWN if marks.opens in template or marks.closes in template), None)
