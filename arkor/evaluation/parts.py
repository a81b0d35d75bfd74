"""The parts of a report.

Protocol: docs/protocol.md, "Evaluations": the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from arkor.evaluation.cases import Case
from arkor.evaluation.statistics import FEWEST_DIFFERING, SAME
from arkor.protocol import wire
from arkor.protocol.evaluations import ADAPTER
from arkor.text import many, one_line

_SHOWN_ROWS = 10


@attrs.frozen(kw_only=True)
class Comparison:
    """How a candidate does in one score, beside the one that it is compared with.

    Attributes:
        candidate: its name.
        difference: its score minus the other one's, -1 to 1.
        low: the lower end of the 95 % interval of the difference.
        high: its upper end.
        wins: rows on which it has the higher score.
        losses: rows on which it has the lower one.
        ties: the other rows.
        verdict: ``better``, ``worse`` or ``no difference``.
    """

    candidate: str = ""
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0
    wins: int = 0
    losses: int = 0
    ties: int = 0
    verdict: str = SAME

    def __str__(self) -> str:
        """Return the verdict in words: ``better: +31 points, 95 % interval 22 to 40``."""
        rows, differing = self.wins + self.losses + self.ties, self.wins + self.losses
        points = f"{points_of(self.difference)} points"
        interval = f"95 % interval {plain_points(self.low)} to {plain_points(self.high)}"
        if self.verdict != SAME:
            return f"{self.verdict}: {points}, {interval}"
        if differing < FEWEST_DIFFERING:
            return f"no difference seen on {many(rows, 'row')}: {differing or 'none'} of them differ"
        return f"no difference seen on {many(rows, 'row')}: {points}, {interval}"


@attrs.frozen(kw_only=True)
class Score:
    """One score of all candidates.

    Attributes:
        name: the metric.
        scorer: the scorer that it comes from.
        label: how people read it.
        values: of each candidate, 0 to 1: the mean over the rows, unless the metric is another one, as F1.
        comparisons: of each candidate but the first one.
    """

    name: str = ""
    scorer: str = ""
    label: str = ""
    values: Mapping[str, float] = attrs.field(factory=dict, hash=False)
    comparisons: Sequence[Comparison] = ()

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Score:
        """Read a score of a report."""
        found = known(cls, body)
        found["comparisons"] = [Comparison(**known(Comparison, item)) for item in wire.objects(body.get("comparisons"))]
        return cls(**found)

    def to_wire(self) -> dict[str, Any]:
        """Return it as a report has it."""
        return {**wire.to_wire(self), "comparisons": [wire.to_wire(one) for one in self.comparisons]}


def main_comparison(scores: Sequence[Score]) -> Comparison | None:
    """Return what the verdict of a report is about: the first score, of the adapter if it is among the candidates."""
    found = scores[0].comparisons if scores else ()
    return next((one for one in found if one.candidate == ADAPTER), found[0] if found else None)


@attrs.frozen
class SharedRow:
    """A row that the training had too: its number, and the number of the training's row."""

    row: int = 0
    training_row: int = 0


@attrs.frozen
class LeftOut:
    """A row that was not asked: its number, and why."""

    row: int = 0
    reason: str = ""


@attrs.frozen(kw_only=True)
class RowsAsked:
    """The rows of a report.

    Attributes:
        source: what they are called; empty if they were uploaded.
        is_held_out: whether they are those that the job held out.
        available: how many there are.
        asked: how many were asked.
        leaked: those that were left out because the training had them.
        same_question: those that were asked although the training had the question, with another answer.
        left_out: those that were left out for another reason.
    """

    source: str = ""
    is_held_out: bool = False
    available: int = 0
    asked: int = 0
    leaked: Sequence[SharedRow] = ()
    same_question: Sequence[SharedRow] = ()
    left_out: Sequence[LeftOut] = ()

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> RowsAsked:
        """Read the rows of a report."""
        found = known(cls, body)
        for name, kind in (("leaked", SharedRow), ("same_question", SharedRow), ("left_out", LeftOut)):
            found[name] = [kind(**known(kind, item)) for item in wire.objects(body.get(wire.wire_name(name)))]
        return cls(**found)

    def to_wire(self) -> dict[str, Any]:
        """Return them as a report has them."""
        lists = {
            wire.wire_name(name): [wire.to_wire(one) for one in getattr(self, name)]
            for name in ("leaked", "same_question", "left_out")
        }
        named = {name: value for name, value in wire.to_wire(self).items() if value != ""}
        return {**named, **lists}

    def __str__(self) -> str:
        """Return how many rows were asked, and which were not, in a line or more."""
        kind = "held-out rows" if self.is_held_out else "rows"
        of = f" of {one_line(self.source)}" if self.source else ""
        lines = [f"{self.asked} of {self.available} {kind}{of}"]
        if self.leaked:
            lines.append(f"  left out, because the job trained on them: {_numbers(self.leaked)}")
        if self.same_question:
            lines.append(
                f"  asked, though the job trained on the question with another answer: {_numbers(self.same_question)}"
            )
        lines += [f"  left out: row {one.row} {one_line(one.reason)}" for one in self.left_out[:_SHOWN_ROWS]]
        return "\n".join(lines)


@attrs.frozen(kw_only=True)
class Retention:
    """What the candidates know of general things.

    Attributes:
        scores: of the questions.
        verdict: in words.
        table: the questions and the answers.
    """

    scores: Sequence[Score] = ()
    verdict: str = ""
    table: Sequence[Case] = ()

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Retention:
        """Read it of a report."""
        return cls(
            scores=[Score.from_wire(item) for item in wire.objects(body.get("scores"))],
            verdict=wire.text(body.get("verdict")),
            table=[Case.from_wire(item) for item in wire.objects(body.get("table"))],
        )

    def to_wire(self) -> dict[str, Any]:
        """Return it as a report has it."""
        return {
            "scores": [score.to_wire() for score in self.scores],
            "verdict": self.verdict,
            "table": [case.to_wire() for case in self.table],
        }


@attrs.frozen(kw_only=True)
class ServedCheck:
    """Whether the adapter that answers is the one that was trained.

    Attributes:
        rows: the held-out rows.
        tokens: the tokens of them that count.
        served: the mean negative log-likelihood of these tokens, as chats get them, in nats.
        trained: the same as the trainer measured it.
        difference: how far the two are apart.
        dtype: the number type that the answers are computed in.
        tolerance: how far they may be apart.
        is_same: whether they are the same.
        cause: what most likely makes them differ; empty if they are the same.
    """

    rows: int = 0
    tokens: int = 0
    served: float = 0.0
    trained: float = 0.0
    difference: float = 0.0
    dtype: str = ""
    tolerance: float = 0.0
    is_same: bool = False
    cause: str = ""

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> ServedCheck:
        """Read it of a report."""
        return cls(**known(cls, body))

    def to_wire(self) -> dict[str, Any]:
        """Return it as a report has it."""
        body = wire.to_wire(self)
        return body if self.cause else {name: value for name, value in body.items() if name != "cause"}

    def __str__(self) -> str:
        """Return both losses, and what follows."""
        losses = f"loss {self.served:.4f} served, {self.trained:.4f} trained ({many(self.tokens, 'token')})"
        if self.is_same:
            return f"served is trained: {losses}"
        return f"the served adapter is not the trained one: {losses}; {self.cause}"


def points_of(share: float) -> str:
    """Return a difference in points of a hundred, with its sign: ``+31``."""
    return f"{round(100 * share):+d}"


def plain_points(share: float) -> str:
    """Return a difference in points of a hundred: ``22``, ``-3``."""
    return f"{round(100 * share):d}"


def _numbers(rows: Sequence[SharedRow]) -> str:
    shown = ", ".join(f"{one.row} (row {one.training_row} of the training)" for one in rows[:_SHOWN_ROWS])
    return f"row {shown}{', …' if len(rows) > _SHOWN_ROWS else ''}"


def known(kind: type, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for a class out of a JSON object; what has another type than it should stays away."""
    found = wire.known_fields(kind, body)
    found.pop("extra")
    defaults = {field.name: field.default for field in attrs.fields(kind)}
    return {name: value for name, value in found.items() if _fits(value, defaults[name])}


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, (int, float)):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, str) if isinstance(default, str) else True
