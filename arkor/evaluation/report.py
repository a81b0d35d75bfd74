"""The report of an evaluation: what was asked, the scores, and the verdict.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from arkor.errors import ArkorError, ConfigError
from arkor.evaluation.findings import Findings
from arkor.evaluation.parts import Score, main_comparison, plain_points, points_of
from arkor.evaluation.statistics import BETTER
from arkor.protocol.tables import require_pandas
from arkor.system.files import write_atomically
from arkor.text import one_line

if TYPE_CHECKING:
    import threading

    from arkor.evaluation.own_scores import OwnScorer


@attrs.frozen(kw_only=True, repr=False)
class EvaluationReport(Findings):
    """Whether a training made its model better.

    ``print`` shows it in a few lines, a notebook as a table. ``save`` writes it.

    Its attributes are those of ``Findings``.

    Example:
        ``result.evaluate(limit=100).verdict``
    """

    @property
    def is_better(self) -> bool:
        """Whether the adapter is better in the main score."""
        main = main_comparison(self.scores)
        return main is not None and main.verdict == BETTER

    def with_scorers(
        self, *scorers: OwnScorer, timeout: float | None = None, abort_event: threading.Event | None = None
    ) -> EvaluationReport:
        """Return the report with the scores of scorers of your own, which run here, on the answers that it has.

        Args:
            scorers: functions, each of which takes the expected answer and the one that came, and returns a number
                from 0 to 1, True or False, or a mapping of names to these; or a ``judge``.
            timeout: seconds for the whole call; a function that is running comes to its end.
            abort_event: ends the call when set, likewise.

        Raises:
            ArkorError: a function raised, or returned something else; the row is named.
            ConfigError: the report has a score of that name.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed.

        Example:
            ``report.with_scorers(lambda expected, answer: expected in answer)``
        """
        from arkor.evaluation.own_scores import with_own
        from arkor.http.abort import AbortScope, Deadline

        with AbortScope(abort_event, Deadline(timeout)) as limits:
            return with_own(self, scorers, limits)

    def to_html(self) -> str:
        """Return the report as one page of HTML, which needs nothing else."""
        from arkor.evaluation.html import page

        return page(self)

    def save(self, path: str | Path) -> Path:
        """Write the report to a file, whole or not at all: a page if its name ends with ``.html``, JSON if ``.json``.

        Returns:
            The path.

        Raises:
            ConfigError: the name has another ending.
            ArkorError: the file cannot be written.
        """
        path = Path(path)
        if path.suffix not in {".html", ".json"}:
            raise ConfigError("path", f"must end with .html or .json, not {str(path)!r:.200}")
        text = self.to_html() if path.suffix == ".html" else json.dumps(self.to_wire(), ensure_ascii=False, indent=1)
        try:
            write_atomically(path, text.encode("utf-8", "replace"))
        except OSError as exc:
            raise ArkorError(f"{path} cannot be written: {exc.strerror or exc}") from exc
        return path

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with a row for each answer.

        Returns:
            Columns ``row``, ``candidate``, ``question``, ``expected``, ``answer``, and one for each metric.

        Raises:
            ArkorError: pandas is not installed.
        """
        pandas = require_pandas()
        return pandas.DataFrame(
            [
                {
                    "row": case.row,
                    "candidate": who,
                    "question": case.question,
                    "expected": case.expected,
                    "answer": answer.text,
                    **{metric: by[who] for metric, by in case.scores.items() if who in by},
                }
                for case in self.table
                for who, answer in case.answers.items()
            ]
        )

    def __str__(self) -> str:
        lines = [one_line(self.verdict)] if self.verdict else []
        lines += [] if self.rows is None else [str(self.rows)]
        lines += _score_lines(self.scores, self.candidates)
        if self.retention is not None:
            lines.append(f"did it forget? {one_line(self.retention.verdict)}")
        lines += [] if self.check is None else [one_line(str(self.check))]
        lines += [one_line(f"computed by {', '.join(self.answered_by)}")] if self.answered_by else []
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from arkor.evaluation.html import summary

        return summary(self)


def _score_lines(scores: Sequence[Score], candidates: Sequence[str]) -> list[str]:
    width = max((len(score.label) for score in scores), default=0)
    lines = []
    for score in scores:
        shares = "  ".join(f"{one_line(one)} {100 * score.values.get(one, 0):.0f} %" for one in candidates)
        found = "; ".join(
            f"{points_of(one.difference)} ({plain_points(one.low)} to {plain_points(one.high)}) {one.verdict}, "
            f"{one.wins} up, {one.losses} down"
            for one in score.comparisons
        )
        lines.append(f"  {one_line(score.label).ljust(width)}  {shares}  {found}")
    return lines
