"""What became of a job's rows: how many the model learns from, and what of them was lost.

Protocol: docs/protocol.md, "The event stream": the ``receipt`` of ``training.started``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from arkor.protocol import wire
from arkor.text import many

MOST_NUMBERS = 20
MOST_NAMES = 20


@attrs.frozen
class NumberedCount:
    """How many rows something happened to, and which were the first.

    Attributes:
        count: how many rows, 0 or more, held-out ones included.
        rows: the numbers of the first 20 rows to train on, then of the first 20 held-out rows, whose source may be
            another one. A number is a line of a file, or a place in a split, from 1.
        held_out: how many of ``count`` are held-out rows.

    Example:
        ``NumberedCount(3, (7, 9, 7), 1)`` are the rows 7 and 9, and the held-out row 7.
    """

    count: int = 0
    rows: tuple[int, ...] = ()
    held_out: int = 0

    @classmethod
    def of(cls, train: Iterable[int], held_out: Iterable[int] = ()) -> NumberedCount:
        """Return the count of some rows, by their numbers."""
        rows, held_out_rows = list(train), list(held_out)
        shown = (*rows[:MOST_NUMBERS], *held_out_rows[:MOST_NUMBERS])
        return cls(len(rows) + len(held_out_rows), shown, len(held_out_rows))

    def numbers(self) -> str:
        """Return the numbers for people: ``rows 7, 9, …; held-out row 7``."""
        train = max(0, len(self.rows) - min(self.held_out, MOST_NUMBERS))
        parts = (
            (self.count - self.held_out, "row", self.rows[:train]),
            (self.held_out, "held-out row", self.rows[train:]),
        )
        return "; ".join(_numbered(count, noun, rows) for count, noun, rows in parts if count)

    def to_wire(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        held_out = {"heldOut": self.held_out} if self.held_out else {}
        return {"count": self.count, "rows": list(self.rows), **held_out}

    @classmethod
    def from_wire(cls, value: Any) -> NumberedCount:
        """Read what a backend says; what it does not say is 0."""
        body = wire.mapping(value)
        rows = body.get("rows")
        numbers = [wire.whole_number(row) for row in rows] if isinstance(rows, list) else []
        count, held_out = (wire.whole_number(body.get(name)) or 0 for name in ("count", "heldOut"))
        return cls(count, tuple(row for row in numbers if row is not None), max(0, min(held_out, count)))


@attrs.frozen(kw_only=True)
class Receipt:
    """What the model learns from, after the rows were rendered and tokenised.

    A row may give several examples, see docs/training.md, "What the model learns". The numbers count the rows to train
    on; where held-out rows count too, it is said.

    Attributes:
        rows: rows to train on, those that are lost included.
        held_out_rows: rows held out, those that are lost included.
        examples: what the trainer is fed.
        answers: answers in the rows.
        tokens: tokens of the examples.
        counted_tokens: tokens that the loss counts.
        max_length: the longest example allowed, in tokens.
        max_length_reason: where that number comes from, in words.
        truncated: rows that were cut, held-out ones included.
        dropped: rows that are not trained on, held-out ones included.
        left_out: by field (``content``, ``reasoning_content``, ``tool_calls``, ``tools``), the rows of which the chat
            template left that field out, held-out ones included.
        unseen_keys: by key (a column such as ``id``, or ``messages.refusal`` for a key of messages), the rows in which
            it says something that the model does not see, held-out ones included; the first 20 keys.
        more_unseen_keys: how many such keys there are beside those.
        special_text: rows in which the text of a message or a tool has a special token of the model, held-out ones
            included.
        recognised_columns: columns of rows that the backend fetched and that it took for those of a format, in words:
            ``question as prompt, answer as completion``.
        unlearnt_answers: answers that were cut off, whole or in part, or whose row was dropped.
        without_end: rows whose last answer was cut: the model learns no end from them.
        duplicates: rows whose messages are those of an earlier row.
        held_out_duplicates: held-out rows whose messages are those of a row to train on.
    """

    rows: int = 0
    held_out_rows: int = 0
    examples: int = 0
    answers: int = 0
    tokens: int = 0
    counted_tokens: int = 0
    max_length: int = 0
    max_length_reason: str = ""
    truncated: NumberedCount = NumberedCount()
    dropped: NumberedCount = NumberedCount()
    left_out: Mapping[str, NumberedCount] = attrs.field(factory=dict, hash=False)
    unseen_keys: Mapping[str, NumberedCount] = attrs.field(factory=dict, hash=False)
    more_unseen_keys: int = 0
    special_text: NumberedCount = NumberedCount()
    recognised_columns: str = ""
    unlearnt_answers: int = 0
    without_end: NumberedCount = NumberedCount()
    duplicates: NumberedCount = NumberedCount()
    held_out_duplicates: NumberedCount = NumberedCount()

    def to_wire(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {wire.wire_name(name): _to_wire(value) for name, value in attrs.asdict(self, recurse=False).items()}

    @classmethod
    def from_wire(cls, value: Any) -> Receipt | None:
        """Read what a backend says; None if it says nothing."""
        if not isinstance(value, Mapping):
            return None
        arguments: dict[str, Any] = {}
        for field in attrs.fields(cls):
            given = value.get(wire.wire_name(field.name))
            if isinstance(field.default, NumberedCount):
                arguments[field.name] = NumberedCount.from_wire(given)
            elif isinstance(field.default, int):
                arguments[field.name] = wire.whole_number(given) or 0
            elif isinstance(field.default, str):
                arguments[field.name] = wire.optional_text(given) or ""
            else:
                counts = wire.mapping(given).items()
                arguments[field.name] = {name: NumberedCount.from_wire(found) for name, found in counts}
        return cls(**arguments)

    def line(self) -> str:
        """Return it in one line for people."""
        held_out = f", {self.held_out_rows:,} held out" if self.held_out_rows else ""
        return (
            f"{many(self.rows, 'row')} to train on{held_out}: {many(self.answers, 'answer')}, "
            f"{many(self.tokens, 'token')} of which {self.counted_tokens:,} count; max_length {self.max_length:,}"
            f"{f' ({self.max_length_reason})' if self.max_length_reason else ''}"
        )

    def warnings(self) -> list[str]:
        """Return what was lost, or looks like a mistake, in a line each for people; nothing if there is nothing."""
        facts = (
            *((found, f"of which the chat template left out the {name}") for name, found in self.left_out.items()),
            (self.special_text, "with a special token in the text: escape_special_tokens=True keeps it text"),
            (self.dropped, "dropped: nothing in them can be learnt within max_length"),
            (self.truncated, "cut to max_length"),
            (self.without_end, "without a learnt end: the model does not learn there to stop"),
            (self.duplicates, "with the messages of an earlier row"),
            (self.held_out_duplicates, "held out and trained on alike: their loss says nothing about new rows"),
        )
        told = [f"{many(found.count, 'row')} {what} ({found.numbers()})" for found, what in facts if found.count]
        if self.recognised_columns:
            told.append(f"columns are taken as follows: {self.recognised_columns}. columns= changes that")
        return [*told, f"the model does not see {self._unseen()}"] if self.unseen_keys else told

    def _unseen(self) -> str:
        keys = [f"{name} ({many(found.count, 'row')})" for name, found in self.unseen_keys.items()]
        more = f" and {many(self.more_unseen_keys, 'further key')}" if self.more_unseen_keys else ""
        return f"{', '.join(keys)}{more}"


def _to_wire(value: Any) -> Any:
    if isinstance(value, NumberedCount):
        return value.to_wire()
    return {name: found.to_wire() for name, found in value.items()} if isinstance(value, Mapping) else value


def _numbered(count: int, noun: str, rows: Sequence[int]) -> str:
    shown = [*map(str, rows), "…"] if count > len(rows) else map(str, rows)
    return f"{noun}{'' if count == 1 else 's'} {', '.join(shown)}"
