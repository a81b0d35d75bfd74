"""What of the model's text is reasoning, what is shown, and what is a call."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Protocol

from arkor.backend.inference.reasoning import ReasoningMarks
from arkor.backend.inference.tools import CALL_ENDS, CALL_OPENS, read_call


class ReasoningParser:
    """Splits the text of one answer, as it is made, into its reasoning and the rest.

    Reasoning is at the beginning. Blanks around it belong to neither part.

    Args:
        marks: those of the model; None if it has no reasoning.
        prompt: the text that the model continues: it may have opened the reasoning.
    """

    def __init__(self, marks: ReasoningMarks | None, prompt: str = "") -> None:
        self._marks = marks or ReasoningMarks("", "")
        self._held = ""
        self._is_beginning = marks is not None
        self._is_reasoning = marks is not None and prompt.rstrip().endswith(marks.opens)
        self._drops_blanks = self._is_reasoning

    @property
    def held(self) -> int:
        """How many characters it holds back."""
        return len(self._held)

    def feed(self, text: str) -> tuple[str, str]:
        """Take more text; return what is certain now of the reasoning, and of the rest."""
        self._held += text
        if self._is_beginning:
            self._begin()
        if self._is_beginning:
            return "", ""
        reasoning = self._reasoning() if self._is_reasoning else ""
        return reasoning, "" if self._is_reasoning else self._shown(len(self._held))

    def finish(self) -> tuple[str, str]:
        """Return what was held back, as ``feed`` does."""
        if self._is_reasoning:
            return self._shown(len(self._held.rstrip())), ""
        return "", self._shown(len(self._held))

    def _begin(self) -> None:
        """Decide what the answer begins with, if that is certain."""
        start, marks = self._held.lstrip(), self._marks
        if any(mark.startswith(start) and mark != start for mark in (marks.opens, marks.answers)):
            return
        self._is_beginning = False
        mark = next((mark for mark in (marks.opens, marks.answers) if mark and start.startswith(mark)), None)
        if mark is not None:
            self._held, self._drops_blanks = start.removeprefix(mark), True
            self._is_reasoning = mark == marks.opens

    def _reasoning(self) -> str:
        closes = self._marks.closes
        before, mark, behind = self._held.partition(closes)
        if not mark:
            return self._shown(len(before[: len(before) - _beginning_of(closes, before)].rstrip()))
        reasoning = self._shown(len(before.rstrip()))
        self._held, self._is_reasoning, self._drops_blanks = behind, False, True
        return reasoning

    def _shown(self, length: int) -> str:
        """Return the beginning of what is held, and hold the rest."""
        text, self._held = self._held[:length], self._held[length:]
        if self._drops_blanks:
            text = text.lstrip()
            self._drops_blanks = not text
        return text


class StopTexts:
    """Ends an answer where one of some texts would begin.

    Args:
        texts: none of them empty; there may be none.

    Attributes:
        was_hit: whether one came.
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._texts = texts
        self._held = ""
        self.was_hit = False

    def feed(self, text: str) -> str:
        """Take more text; return what of it, and of what was held back, is certainly before a stop."""
        self._held += text
        found = [(place + len(stop), place) for stop in self._texts if (place := self._held.find(stop)) >= 0]
        if found:
            _, place = min(found)  # the one that is complete first, in whatever pieces the text comes
            shown, self._held, self.was_hit = self._held[:place], "", True
            return shown
        keep = max((_beginning_of(stop, self._held) for stop in self._texts), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def finish(self) -> str:
        """Return what was held back: it is no stop after all."""
        shown, self._held = self._held, ""
        return shown


class Output(Protocol):
    """Takes in the text of one answer as it is made."""

    @property
    def held(self) -> int:
        """How many characters it holds back."""
        ...

    def feed(self, text: str) -> str:
        """Take more text; return what of it, and of what was held back, is shown."""
        ...

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """Return the rest that is shown, and the calls in chat completions form."""
        ...


class PlainOutput:
    """Text, and nothing else."""

    held = 0

    def feed(self, text: str) -> str:
        """Show all of it."""
        return text

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """Nothing was held back."""
        return "", []


class CallOutput:
    """One call, and nothing else; one that is cut off is none."""

    def __init__(self) -> None:
        self._text = ""

    @property
    def held(self) -> int:
        """All of it."""
        return len(self._text)

    def feed(self, text: str) -> str:
        """Show nothing."""
        self._text += text
        return ""

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """Return the call."""
        call = read_call(self._text)
        return "", [] if call is None else [_wire(call)]


class TaggedOutput:
    """Text in which calls stand between ``<tool_call>`` marks; what is no call after all is shown as it was written."""

    def __init__(self) -> None:
        self._held = ""
        self._calls: list[dict[str, Any]] = []

    @property
    def held(self) -> int:
        """What is, or may become, a call."""
        return len(self._held)

    def feed(self, text: str) -> str:
        """Hold back from a mark, or what may become one, to the end of the call."""
        self._held += text
        shown = ""
        while True:
            start = self._held.find(CALL_OPENS)
            if start < 0:
                keep = _beginning_of(CALL_OPENS, self._held)
                shown += self._held[: len(self._held) - keep]
                self._held = self._held[len(self._held) - keep :]
                return shown
            end = self._held.find(CALL_ENDS, start)
            if end < 0:
                shown, self._held = shown + self._held[:start], self._held[start:]
                return shown
            shown += self._held[:start] + self._take(self._held[start + len(CALL_OPENS) : end])
            self._held = self._held[end + len(CALL_ENDS) :]

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """Return what was held back, unless it is a call that was cut off, and the calls."""
        rest = "" if self._held.startswith(CALL_OPENS) else self._held
        self._held = ""
        return rest, self._calls

    def _take(self, inner: str) -> str:
        call = read_call(inner)
        if call is None:
            return f"{CALL_OPENS}{inner}{CALL_ENDS}"
        self._calls.append(_wire(call))
        return ""


def _beginning_of(mark: str, text: str) -> int:
    """Return how many of the text's last characters are the mark's first."""
    return next((length for length in range(len(mark) - 1, 0, -1) if text.endswith(mark[:length])), 0)


def _wire(call: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": call}
