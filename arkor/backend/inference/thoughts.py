"""How models mark what they think before they answer.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import attrs


@attrs.frozen
class ThoughtMarks:
    """The texts around a thought at the beginning of an answer.

    Attributes:
        opens: stands before the thought, in the answer or at the end of its prompt.
        closes: stands between the thought and the rest of the answer.
        answers: stands before an answer without a thought; empty where nothing does.
    """

    opens: str
    closes: str
    answers: str = ""

    def __str__(self) -> str:
        return f"{self.opens}{self.closes}{self.answers}"


_KNOWN = (
    ThoughtMarks("<think>", "</think>"),  # DeepSeek, GLM, LFM, Nemotron, Qwen and most others
    ThoughtMarks("<|channel>thought", "<channel|>"),  # Gemma
    ThoughtMarks(  # gpt-oss
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|channel|>final<|message|>",
    ),
    ThoughtMarks(  # Muse
        "to=self<|message|>", "<|eom|><|start|>assistant to=user<|message|>", "to=user<|message|>"
    ),
)


def find_thought_marks(template: str) -> ThoughtMarks | None:
    """Return the marks that a chat template knows; None if it knows none of those that are known here."""
    return next((marks for marks in _KNOWN if marks.opens in template or marks.closes in template), None)
