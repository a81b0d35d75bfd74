"""The block that a run begins with on a terminal: what is trained, on what, and how long it may take."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from typing import Any

import attrs

from arkor.cli.display.job_table import SHORTEST_ID, in_words
from arkor.cli.display.style import columns_of, quiet, warning
from arkor.protocol import wire
from arkor.protocol.events import TrainingStartedEvent
from arkor.protocol.jobs import JobStatus, TrainingJob
from arkor.text import many, one_line

COMPARED = 20  # earlier jobs whose pace may be that of this one
NARROWEST = 20  # columns of a line
_INDENT = "  "
_SAME_PACE = (
    *("model", "batchSize", "gradientAccumulationSteps", "devices", "maxLength", "loadIn4bit", "dtype"),
    *("loraR", "evalSteps", "gradientCheckpointing"),
)


@attrs.frozen
class Pace:
    """How long the steps of an earlier job took.

    Attributes:
        step_s: seconds a step, evaluations and checkpoints included; above 0.
        job_id: the job.
    """

    step_s: float
    job_id: str

    @classmethod
    def of_earlier(cls, job: TrainingJob, earlier: Iterable[TrainingJob]) -> Pace | None:
        """Return the pace of the first job that completed with the settings that matter; None if there is none.

        Args:
            job: the job whose time is to be estimated.
            earlier: other jobs, the newest first.
        """
        for other in earlier:
            steps = wire.whole_number(wire.mapping(other.extra.get("progress")).get("step")) or 0
            start, end = wire.moment(other.started_at), wire.moment(other.completed_at)
            is_like = all(job.config.get(name) == other.config.get(name) for name in _SAME_PACE)
            if other.status == JobStatus.COMPLETED and is_like and not other.is_dry_run and steps and start and end:
                seconds = (end - start).total_seconds()
                return cls(seconds / steps, other.id) if seconds > 0 else None
        return None


def opening(job: TrainingJob, event: TrainingStartedEvent, pace: Pace | None = None) -> list[str]:
    """Return the block, and a line for each warning.

    Args:
        job: the job.
        event: says what it trains on.
        pace: of an earlier job like this one; None if there is none.
    """
    columns = columns_of(sys.stdout)
    facts = _facts(job, event, pace)
    width = max(map(len, facts), default=0)
    lines = []
    for name, fact in facts.items():
        begin = f"{_INDENT}{name.ljust(width)}{_INDENT}"
        first, *rest = _wrapped(fact, columns - len(begin))
        lines += [f"{quiet(begin)}{first}", *(" " * len(begin) + line for line in rest)]
    receipt = event.receipt
    for text in receipt.warnings() if receipt else []:
        lines += [_INDENT + warning(line) for line in _wrapped(f"Warning: {text}", columns - len(_INDENT))]
    for text in event.advice:
        lines += [_INDENT + line for line in _wrapped(f"Advice: {text}", columns - len(_INDENT))]
    return lines


def _wrapped(text: str, columns: int) -> list[str]:
    """Return a text in lines that are shorter than the terminal is wide."""
    return textwrap.wrap(one_line(text), max(NARROWEST, columns - 1)) or [""]


def _facts(job: TrainingJob, event: TrainingStartedEvent, pace: Pace | None) -> dict[str, str]:
    steps = wire.whole_number(event.metadata.get("maxSteps"))
    # A backend may have fewer rows in a batch since memory ran out; nobody knows them here.
    batch = wire.whole_number(job.config.get("batchSize"))
    of = f", each of {many(batch, 'row')}" if batch else ""
    record, receipt = event.record, event.receipt
    threads = many(record.threads, "thread") if record and record.threads else ""
    machine = [record.device, record.dtype, threads] if record else [wire.text(event.metadata.get("device"))]
    resumed = wire.whole_number(event.metadata.get("resumedFromStep"))
    told: dict[str, Any] = {
        "model": wire.text(event.metadata.get("model") or job.config.get("model")),
        "dataset": receipt.line() if receipt else "",
        "steps": f"{steps:,}{of}" if steps else "",
        "device": ", ".join(filter(None, machine)),
        "time": _time(steps, resumed, pace),
    }
    if event.prompt_form == "raw":
        told["form"] = "plain text, without the model's chat template"
    return {name: fact for name, fact in told.items() if fact}


def _time(steps: int | None, resumed: int | None, pace: Pace | None) -> str:
    """Return how long the training may take; empty if no earlier job tells."""
    if not steps or pace is None:
        return ""
    return f"about {in_words((steps - (resumed or 0)) * pace.step_s)}, at the pace of {pace.job_id[:SHORTEST_ID]}"
