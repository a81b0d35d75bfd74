"""Rows of a batch that take the likeliest tokens, and note them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs


@attrs.define(eq=False)
class FakeRow:
    """A row that takes the likeliest token until it has enough of them."""

    prompt: list[int]
    count: int
    adapter: str | None = None
    alone: bool = False
    echo: Any = None
    is_background: bool = False
    done: bool = False
    last: int | None = None
    made: list[int] = attrs.Factory(list)

    @property
    def longest(self) -> int:
        return len(self.prompt) + self.count

    def advance(self, logits: Any) -> None:
        if self.done:
            return
        self.last = int(logits.argmax())
        self.made.append(self.last)
        self.done = len(self.made) >= self.count


class ExactRow(FakeRow):
    """Also notes how likely its token was: a bit that is rounded otherwise shows."""

    def advance(self, logits: Any) -> None:
        if not self.done:
            super().advance(logits)
            self.made.append(float(logits.max()))  # type: ignore[arg-type]


def advance(row: Any, logits: Any) -> None:
    """Let a row take a token, as the scheduler does."""
    row.advance(logits)


def run(base: Any, rows: Sequence[FakeRow], join_at: int = 3) -> None:
    """Let some rows begin together, and the others join them."""
    batch = base.new_batch()
    for row in rows[:3]:
        batch.add(row)
    for _ in range(join_at):
        batch.turn(advance)
    for row in rows[3:]:
        batch.add(row)
    while batch.rows:
        batch.turn(advance)
