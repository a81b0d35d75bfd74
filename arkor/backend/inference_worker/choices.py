"""The answers to one question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from arkor.backend.inference_worker.rows import Row, Say


class Choices:
    """The answers to one question: rows with the same prompt, each with an index. Not thread-safe.

    Args:
        say: tells the server something about the question.
        adapter: the adapter's name within its base, or None.

    Attributes:
        rows: the answers.
        unread: those of them that no batch has yet.
    """

    def __init__(self, say: Say, adapter: str | None) -> None:
        self.say = say
        self.adapter = adapter
        self.rows: list[Row] = []
        self.unread: list[Row] = []
        self._made = 0

    @property
    def done(self) -> bool:
        """Whether all have ended, or nobody waits for them any more."""
        return all(row.done for row in self.rows)

    def add(self, make: Callable[[Say], Row]) -> None:
        """Make another one.

        Args:
            make: returns the row; given what takes in whatever it tells.
        """
        row = make(partial(self._tell, len(self.rows)))
        self.rows.append(row)
        self.unread.append(row)

    def stop(self) -> None:
        """Make no more of them, and tell nothing."""
        for row in self.rows:
            row.done = True

    def _tell(self, index: int, **fields: Any) -> None:
        """Tell something about one of them. The question fails with the first that fails, and ends with the last."""
        if "error" in fields:
            self.stop()
        if "done" in fields:
            fields = self._ended(fields["done"])
        self.say(index=index, **fields)

    def _ended(self, done: Mapping[str, Any]) -> dict[str, Any]:
        self._made += done["usage"]["completion_tokens"]
        if not self.done:
            return {"ended": {"finishReason": done["finishReason"]}}
        prompt = done["usage"]["prompt_tokens"]
        usage = {"prompt_tokens": prompt, "completion_tokens": self._made, "total_tokens": prompt + self._made}
        return {"done": {**done, "usage": usage}}
