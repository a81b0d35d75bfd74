"""What an evaluation found, as it travels.

Protocol: docs/protocol.md, "Evaluations": the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from arkor.errors import ConfigError
from arkor.evaluation.cases import Case
from arkor.evaluation.parts import Retention, RowsAsked, Score, ServedCheck, known
from arkor.protocol import wire

if TYPE_CHECKING:
    from typing import Self  # Python 3.11; the type checker alone reads it


@attrs.frozen(kw_only=True, repr=False)
class Findings:
    """What an evaluation found.

    Attributes:
        id: the evaluation.
        job_id: the job.
        created_at: when it was asked for, ISO 8601, UTC.
        model: the base model.
        max_tokens: longest answer in tokens.
        answered_by: the programs that computed the answers, each with its number type, such as ``llama.cpp-bf16``;
            empty where the backend does not say it.
        candidates: who answered; the one that the others are compared with first.
        against: the name of that one.
        rows: the rows; None if none were asked.
        scores: the scores, the main one first.
        details: what scorers have to show beside them: of labels the ``confusion``.
        verdict: the verdict on the main score, in words.
        table: the rows that were asked, with all answers.
        retention: general questions; None if none were asked.
        check: whether the adapter that answers is the one that was trained; None if that was not checked.
    """

    id: str = ""
    job_id: str = ""
    created_at: str = ""
    model: str = ""
    max_tokens: int | None = None
    answered_by: Sequence[str] = attrs.field(factory=list)
    candidates: Sequence[str] = ()
    against: str = ""
    rows: RowsAsked | None = None
    scores: Sequence[Score] = ()
    details: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    verdict: str = ""
    table: Sequence[Case] = ()
    retention: Retention | None = None
    check: ServedCheck | None = None

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Self:
        """Read a report; what this version does not know is passed over."""
        found = known(cls, body)
        said = body.get("answeredBy")
        found["answered_by"] = [one for one in said if isinstance(one, str)] if isinstance(said, list) else []
        found["scores"] = [Score.from_wire(item) for item in wire.objects(body.get("scores"))]
        found["table"] = [Case.from_wire(item) for item in wire.objects(body.get("table"))]
        for name, kind in (("rows", RowsAsked), ("retention", Retention), ("check", ServedCheck)):
            given = body.get(name)
            found[name] = kind.from_wire(given) if isinstance(given, Mapping) else None
        return cls(**found)

    def to_wire(self) -> dict[str, Any]:
        """Return the report as the JSON object that travels."""
        parts: dict[str, Any] = {
            "scores": [score.to_wire() for score in self.scores],
            "table": [case.to_wire() for case in self.table],
        }
        for name in ("rows", "retention", "check"):
            part = getattr(self, name)
            parts |= {} if part is None else {name: part.to_wire()}
        return {**wire.to_wire(attrs.evolve(self, rows=None, retention=None, check=None)), **parts}

    def wins(self, candidate: str = "adapter") -> list[Case]:
        """Return the rows on which a candidate has the higher main score."""
        return self._differing(candidate, 1)

    def losses(self, candidate: str = "adapter") -> list[Case]:
        """Return the rows on which a candidate has the lower main score."""
        return self._differing(candidate, -1)

    def _differing(self, candidate: str, sign: int) -> list[Case]:
        if candidate not in self.candidates:
            raise ConfigError("candidate", f"must be one of {', '.join(self.candidates)}, not {candidate!r:.100}")
        metric = next((score.name for score in self.scores if any(score.name in one.scores for one in self.table)), "")
        rows = (case for case in self.table if metric in case.scores)
        return [
            case for case in rows if sign * (case.scores[metric][candidate] - case.scores[metric][self.against]) > 0
        ]
