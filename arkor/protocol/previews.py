"""A data set as a model sees it: the tokens of its rows, and which of them the loss counts.

Protocol: docs/protocol.md, "Previews".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from arkor.drawing.html import preformatted, text
from arkor.protocol import wire
from arkor.protocol.receipt import Receipt
from arkor.text import many, one_line, printable

MOST_LONGEST = 5
MOST_BUCKETS = 40
MOST_AROUND = 20
MOST_HITS = 100
LONGEST_SEARCH = 200


def in_marks(text: str) -> str:
    """Return a text between the marks that stand for a colour where there is none."""
    return f"⟦{text}⟧"


@attrs.frozen
class RowLength:
    """How long a row is.

    Attributes:
        row: its number, from 1: a line of a file, or a place in a split.
        tokens: tokens of its longest example.
    """

    row: int
    tokens: int


@attrs.frozen
class LongerRows:
    """How many rows a ``max_length`` would cut or drop.

    Attributes:
        max_length: in tokens.
        rows: how many rows have a longer example.
    """

    max_length: int
    rows: int


@attrs.frozen
class LengthBucket:
    """How many examples have a length within a range; a bar of a histogram.

    Attributes:
        at_least: the shortest of these lengths, in tokens.
        below: the shortest length that is too long for it, in tokens.
        examples: how many examples, 0 or more.
    """

    at_least: int
    below: int
    examples: int


@attrs.frozen
class RowPlace:
    """Where a row is.

    Attributes:
        row: its number, from 1: a line of a file, or a place in a split.
        is_held_out: whether it is held out. Held-out rows of a source of their own have numbers of their own.
    """

    row: int
    is_held_out: bool = False

    @classmethod
    def from_wire(cls, value: Any) -> RowPlace | None:
        """Read what a backend says; None if it says nothing."""
        if not isinstance(value, Mapping):
            return None
        return cls(_count(value, "row"), value.get("isHeldOut") is True)


@attrs.frozen(kw_only=True)
class RowHit:
    """A row that a search found, with the text around the first hit in it.

    Attributes:
        row: its number, from 1.
        is_held_out: whether it is held out.
        before: the text before the hit, shortened.
        match: the hit.
        after: the text after the hit, shortened.
    """

    row: int
    is_held_out: bool
    before: str
    match: str
    after: str


@attrs.frozen(kw_only=True, repr=False)
class TokenSummary:
    """What a model would learn of a data set, before there is a job. ``print`` shows it in a few lines.

    Lengths are those of the examples before anything is cut, held-out rows included.

    Attributes:
        format: the rows' format.
        p50: half of the examples have at most so many tokens.
        p90: the same of 90 %.
        p99: the same of 99 %.
        longest: tokens of the longest example.
        longest_rows: the five longest rows, the longest first.
        longer_rows: for some values of ``max_length``, how many rows are longer; ascending.
        histogram: how many examples there are of each length, in at most 40 ranges of the same size, ascending; empty
            if the backend does not say.
        receipt: what the job would say of the rows.
        problem: why the job would fail, or None.
    """

    format: str = ""
    p50: int = 0
    p90: int = 0
    p99: int = 0
    longest: int = 0
    longest_rows: Sequence[RowLength] = ()
    longer_rows: Sequence[LongerRows] = ()
    histogram: Sequence[LengthBucket] = ()
    receipt: Receipt = attrs.field(factory=Receipt)
    problem: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        lists: dict[str, Sequence[Any]] = {
            "longestRows": self.longest_rows,
            "longerRows": self.longer_rows,
            "histogram": self.histogram,
        }
        body = {**wire.to_wire(self), "receipt": self.receipt.to_wire()}
        return {**body, **{name: [wire.to_wire(item) for item in items] for name, items in lists.items()}}

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> TokenSummary:
        """Read what a backend says; what it does not say is 0 or empty."""
        return cls(
            format=wire.text(body.get("format")),
            p50=_count(body, "p50"),
            p90=_count(body, "p90"),
            p99=_count(body, "p99"),
            longest=_count(body, "longest"),
            longest_rows=tuple(
                RowLength(_count(item, "row"), _count(item, "tokens")) for item in wire.objects(body.get("longestRows"))
            ),
            longer_rows=tuple(
                LongerRows(_count(item, "maxLength"), _count(item, "rows"))
                for item in wire.objects(body.get("longerRows"))
            ),
            histogram=tuple(
                LengthBucket(*(_count(item, name) for name in ("atLeast", "below", "examples")))
                for item in wire.objects(body.get("histogram"))
            ),
            receipt=Receipt.from_wire(body.get("receipt")) or Receipt(),
            problem=wire.optional_text(body.get("problem")),
        )

    def __str__(self) -> str:
        """Return it in a few lines for people: lengths, the receipt, its warnings, the problem."""
        figures = f"p50 {self.p50:,}, p90 {self.p90:,}, p99 {self.p99:,}, longest {self.longest:,}"
        longest = ", ".join(f"row {item.row} ({item.tokens:,})" for item in self.longest_rows)
        lines = [f"tokens   {figures}", f"longest  {longest}"]
        if self.longer_rows:
            limits = "; ".join(f"than {item.max_length:,}: {many(item.rows, 'row')}" for item in self.longer_rows)
            lines.append(f"longer   {limits}")
        lines += [one_line(self.receipt.line()), *(f"Warning: {one_line(text)}" for text in self.receipt.warnings())]
        return "\n".join([*lines, *([f"A job would fail: {one_line(self.problem)}"] if self.problem else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return preformatted(self)


@attrs.frozen
class Token:
    """A token of an example.

    Attributes:
        id: its number in the model's vocabulary.
        text: its text, special tokens as they are written. A character of several tokens is the text of its last one,
            and the text of the others is empty.
        counted: whether the loss counts it.
    """

    id: int
    text: str
    counted: bool


@attrs.frozen(repr=False)
class Example:
    """One example of a row, as the model sees it. ``print`` shows its text, counted parts between ``⟦`` and ``⟧``.

    Attributes:
        tokens: in order.
    """

    tokens: Sequence[Token] = ()

    @property
    def counted(self) -> int:
        """How many tokens the loss counts."""
        return sum(token.counted for token in self.tokens)

    def parts(self) -> list[tuple[str, bool]]:
        """Return the text in as few parts as possible, each with whether the loss counts it."""
        parts: list[tuple[str, bool]] = []
        for token in self.tokens:
            before = parts.pop() if parts and parts[-1][1] == token.counted else ("", token.counted)
            parts.append((before[0] + token.text, token.counted))
        return parts

    def shown(self, mark: Callable[[str], str]) -> str:
        """Return the text for a terminal.

        Args:
            mark: makes a counted part stand out.
        """
        return "".join(mark(printable(text)) if counted else printable(text) for text, counted in self.parts())

    def __str__(self) -> str:
        """Return the text, counted parts between marks."""
        return self.shown(in_marks)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = ((text(part), counted) for part, counted in self.parts())
        return f"<pre>{''.join(f'<b>{part}</b>' if counted else part for part, counted in parts)}</pre>"


@attrs.frozen(kw_only=True, repr=False)
class RowPreview:
    """A row as the model sees it. ``print`` shows all of it.

    Attributes:
        row: its number, from 1.
        format: its format.
        is_held_out: whether it is held out.
        examples: what the trainer is fed; none if the row is dropped.
        max_length: the longest example allowed for it, in tokens.
        max_length_reason: where that number comes from, in words.
        cut_tokens: tokens that are cut off or dropped because the row is too long.
        left_out: fields that the chat template leaves out of it.
        previous: the row before it; None for the first row, or if the backend does not say.
        next: the row after it; None for the last row, or if the backend does not say.
    """

    row: int = 0
    format: str = ""
    is_held_out: bool = False
    examples: Sequence[Example] = ()
    max_length: int = 0
    max_length_reason: str = ""
    cut_tokens: int = 0
    left_out: Sequence[str] = ()
    previous: RowPlace | None = None
    next: RowPlace | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        examples = [{"tokens": [attrs.asdict(token) for token in example.tokens]} for example in self.examples]
        return {**wire.to_wire(attrs.evolve(self, examples=())), "examples": examples, "leftOut": list(self.left_out)}

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> RowPreview:
        """Read what a backend says; what it does not say is 0 or empty."""
        left_out = body.get("leftOut")
        return cls(
            row=_count(body, "row"),
            format=wire.text(body.get("format")),
            is_held_out=body.get("isHeldOut") is True,
            examples=tuple(Example(tuple(_tokens(item))) for item in wire.objects(body.get("examples"))),
            max_length=_count(body, "maxLength"),
            max_length_reason=wire.text(body.get("maxLengthReason")),
            cut_tokens=_count(body, "cutTokens"),
            left_out=tuple(map(wire.text, left_out)) if isinstance(left_out, list) else (),
            previous=RowPlace.from_wire(body.get("previous")),
            next=RowPlace.from_wire(body.get("next")),
        )

    def shown(self, mark: Callable[[str], str]) -> str:
        """Return all of it for a terminal: a head, and a block for each example.

        Args:
            mark: makes a counted part stand out.
        """
        return "\n\n".join(["\n".join(self._head()), *(example.shown(mark).rstrip("\n") for example in self.examples)])

    def __str__(self) -> str:
        """Return all of it, counted parts between marks."""
        return self.shown(in_marks)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = preformatted("\n".join(self._head()))
        return f"{head}{''.join(example._repr_html_() for example in self.examples)}"

    def _head(self) -> list[str]:
        held_out = ", held out" if self.is_held_out else ""
        lines = [f"row {self.row} of {self.format}{held_out}: {many(len(self.examples), 'example')}"]
        for number, example in enumerate(self.examples, start=1):
            name = f"example {number}: " if len(self.examples) > 1 else ""
            lines.append(f"  {name}{many(len(example.tokens), 'token')}, {example.counted:,} counted")
        if self.cut_tokens:
            limit = f"max_length {self.max_length:,} ({one_line(self.max_length_reason)})"
            lines.append(f"  too long for {limit}: {many(self.cut_tokens, 'token')} left out")
        if self.left_out:
            lines.append(f"  left out by the chat template: {one_line(', '.join(self.left_out))}")
        return lines


def _tokens(example: Mapping[str, Any]) -> Iterable[Token]:
    for item in wire.objects(example.get("tokens")):
        yield Token(_count(item, "id"), wire.text(item.get("text")), item.get("counted") is True)


def _count(body: Mapping[str, Any], name: str) -> int:
    return wire.whole_number(body.get(name)) or 0
