"""Jobs as lines of a table."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone

import attrs
import click

from arkor.cli.display.style import STATUS_COLOURS, aligned, columns_of, fitted, quiet, width_of
from arkor.protocol import wire
from arkor.protocol.jobs import TrainingJob
from arkor.text import one_line

LONGEST_NAME = 32
LONGEST_MODEL = 28
DRY_RUN = "(dry run)"
SHORTEST_ID = 10  # job_ and 6 characters: of ten thousand jobs that are not listed, hardly one begins so, too
_GAP = "  "


@attrs.frozen
class _Column:
    """A column: its title, its cells, how soon it goes if the terminal is narrow (0: never), and where cells stand."""

    title: str
    cell: Callable[[TrainingJob], str]
    goes: int = 0
    is_number: bool = False


def print_table(found: Sequence[TrainingJob], *, for_people: bool = False, projects: Mapping[str, str] = {}) -> None:
    """Print jobs on one line each; a dry run is marked behind its name.

    Args:
        found: the jobs.
        for_people: on a terminal, with the shortest ids that are unique, ages and colours, as wide as the terminal.
            Otherwise with whole ids and times, however wide.
        projects: by the id of a project its name, for jobs of several; empty for those of one.
    """
    ids = short_ids([job.id for job in found]) if for_people else {}
    columns = [_Column(_ID, lambda job: one_line(ids.get(job.id, job.id)))]
    if projects:
        columns.append(_Column("PROJECT", lambda job: one_line(projects.get(job.project_id, ""), LONGEST_NAME), 7))
    first, named, *rest = _COLUMNS
    columns += [first, named, *rest, _AGE, _TOOK] if for_people else [first, named, _CREATED, _TOOK, *rest]
    cells = {column.title: [column.cell(job) for job in found] for column in columns}
    if for_people:
        columns = _fitting(columns, cells, columns_of(sys.stdout))
    _print([[column.title, *cells[column.title]] for column in columns], columns, for_people=for_people)


def _print(cells: list[list[str]], columns: Sequence[_Column], *, for_people: bool) -> None:
    numbers = frozenset(number for number, column in enumerate(columns) if column.is_number and for_people)
    head, *rows = aligned(list(zip(*cells, strict=True)), numbers)
    status = next(number for number, column in enumerate(columns) if column.title == "STATUS")
    click.echo(quiet(_GAP.join(head).rstrip()) if for_people else _GAP.join(head).rstrip())
    for row in rows:
        if for_people:
            row[status] = click.style(row[status], fg=STATUS_COLOURS.get(row[status].strip()))
        click.echo(_GAP.join(row).rstrip())


def _fitting(columns: list[_Column], cells: dict[str, list[str]], room: int) -> list[_Column]:
    """Return the columns that a terminal has room for; at last names are cut."""
    widths = {column.title: max(map(width_of, [column.title, *cells[column.title]])) for column in columns}
    kept = [column for column in columns if any(cells[column.title])]

    def excess() -> int:
        return sum(widths[column.title] + len(_GAP) for column in kept) - len(_GAP) - room

    while excess() > 0 and any(column.goes for column in kept):
        kept.remove(min((column for column in kept if column.goes), key=lambda column: column.goes))
    if excess() > 0:
        longest = max(4, widths[_NAME] - excess())
        cells[_NAME] = [fitted(name, longest) for name in cells[_NAME]]
    return kept


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Return for each id its shortest beginning that no other one has, of 10 characters at least."""
    ordered = sorted(ids)
    short = {}
    for number, whole in enumerate(ordered):
        others = (ordered[at] for at in (number - 1, number + 1) if 0 <= at < len(ordered))
        shared = max((_shared(whole, other) for other in others), default=0)
        short[whole] = whole[: max(SHORTEST_ID, shared + 1)]
    return short


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _named(job: TrainingJob) -> str:
    name = one_line(job.name, LONGEST_NAME)
    return f"{name} {DRY_RUN}".lstrip() if job.is_dry_run else name


def _model(job: TrainingJob) -> str:
    """Return the end of a model's name: of a folder and of owner/name, the part behind the last slash."""
    return one_line(wire.text(job.config.get("model")).rstrip("/").rpartition("/")[2], LONGEST_MODEL)


def _steps(job: TrainingJob) -> str:
    """Return how many steps are done, and of how many where its settings say so."""
    done = wire.whole_number(_progress(job).get("step"))
    total = None if job.is_dry_run else wire.whole_number(job.config.get("maxSteps"))
    if total is None or (done or 0) > total or (done is not None and job.is_terminal):
        return "" if done is None else str(done)
    return f"{done or 0}/{total}"


def _figure(job: TrainingJob, name: str) -> str:
    figure = wire.number(_progress(job).get(name))
    return "" if figure is None else f"{figure:.3f}"


def _progress(job: TrainingJob) -> Mapping[str, object]:
    return wire.mapping(job.extra.get("progress"))


def local_time(at: str | None, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return a time on the wire in the user's own time zone, for people; empty if there is none."""
    time = wire.moment(at)
    with contextlib.suppress(OverflowError):  # the zero time of some backends is before the year 1 in some zones
        return time.astimezone().strftime(form) if time else ""
    return ""


def age(at: str | None) -> str:
    """Return how long ago a time on the wire was, in its largest unit: ``3m``, ``5h``, ``12d``; empty for none."""
    time = wire.moment(at)
    if time is None:
        return ""
    seconds = max(0, int((datetime.now(timezone.utc) - time).total_seconds()))
    units = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    return next((f"{seconds // size}{unit}" for size, unit in units if seconds >= size), "0s")


def took(job: TrainingJob) -> str:
    """Return how long a job has run, or ran."""
    start, end = wire.moment(job.started_at), wire.moment(job.completed_at) or datetime.now(timezone.utc)
    return "" if start is None else in_words((end - start).total_seconds())


def in_words(seconds: float) -> str:
    """Return a time span for people: ``4m 07s``, or ``2h 05m``; a negative one is none."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


_NAME = "NAME"
_COLUMNS = (
    _Column("STATUS", lambda job: one_line(job.status)),
    _Column(_NAME, _named),
    _Column("MODEL", _model, 4),
    _Column("STEPS", _steps, 6, is_number=True),
    _Column("LOSS", lambda job: _figure(job, "loss"), 5, is_number=True),
    _Column("HELD-OUT", lambda job: _figure(job, "evalLoss"), 3, is_number=True),
)
_AGE = _Column("AGE", lambda job: age(job.created_at), 2, is_number=True)
_CREATED = _Column("CREATED", lambda job: local_time(job.created_at))
_TOOK = _Column("TOOK", took, 1, is_number=True)
_ID = "ID"
