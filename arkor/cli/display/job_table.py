"""Jobs as lines of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime, timezone
from unicodedata import combining, east_asian_width

import click

from arkor.protocol import wire
from arkor.protocol.jobs import TrainingJob
from arkor.text import one_line

LONGEST_NAME = 32
DRY_RUN = "(dry run)"


def print_table(found: Iterable[TrainingJob]) -> None:
    """Print jobs on one line each; a dry run is marked behind its name."""
    rows = [("ID", "STATUS", "NAME", "CREATED", "TOOK")]
    rows += [
        (one_line(job.id), one_line(job.status), _named(job), local_time(job.created_at), took(job)) for job in found
    ]
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - _columns(cell)) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _named(job: TrainingJob) -> str:
    name = one_line(job.name, LONGEST_NAME)
    return f"{name} {DRY_RUN}".lstrip() if job.is_dry_run else name


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for an ideograph, none for an accent."""
    return sum(0 if combining(char) else 2 if east_asian_width(char) in {"W", "F"} else 1 for char in text)


def local_time(at: str | None) -> str:
    """Return a time on the wire in the user's own time zone, for people; empty if there is none."""
    time = wire.moment(at)
    with contextlib.suppress(OverflowError):  # the zero time of some backends is before the year 1 in some zones
        return f"{time.astimezone():%Y-%m-%d %H:%M}" if time else ""
    return ""


def took(job: TrainingJob) -> str:
    """Return how long a job has run, or ran."""
    start, end = wire.moment(job.started_at), wire.moment(job.completed_at) or datetime.now(timezone.utc)
    if start is None:
        return ""
    minutes, seconds = divmod(max(0, int((end - start).total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {seconds:02}s"
