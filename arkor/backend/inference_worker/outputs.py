"""What of the model's text is shown, and what of it is a call."""

from __future__ import annotations

import secrets
from typing import Any, Protocol

from arkor.backend.inference.tools import CALL_ENDS, CALL_OPENS, read_call


class Output(Protocol):
    """Takes in the text of one answer as it is made."""

    def feed(self, text: str) -> str:
        """Take more text; return what of it, and of what was held back, is shown."""
        ...

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """Return the rest that is shown, and the calls in chat completions form."""
        ...


class PlainOutput:
    """Text, and nothing else."""

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
