"""What ``arkor evaluate`` and ``arkor report`` share: wait for a report and show it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from arkor.cli.display.output import json_line
from arkor.cli.display.phase_bars import LABEL_WIDTH, progress_bar
from arkor.cli.exits import Interrupted
from arkor.cli.options import duration, with_same_backend
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.evaluation.report import EvaluationReport
    from arkor.protocol.evaluations import Evaluation
    from arkor.protocol.jobs import TrainingJob

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the report to a file: a page to read, if its name ends with .html, and JSON if with .json.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    click.option(
        "--timeout",
        metavar="TIME",
        callback=duration,
        help="Maximum wait, such as 2h, 15m or 90s. The evaluation goes on.",
    ),
)


def report_options(command: F) -> F:
    """Add the options that say how a report is waited for and shown."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class AnswerBar:
    """A progress bar for the answers of an evaluation, on stderr; one line if that is no terminal."""

    def __init__(self) -> None:
        self._shown = contextlib.ExitStack()
        self._bar: Any = None

    def __enter__(self) -> AnswerBar:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._shown.close()

    def update(self, evaluation: Evaluation) -> None:
        """Show how far an evaluation is."""
        if self._bar is None and evaluation.total:
            self._bar = self._shown.enter_context(progress_bar(evaluation.total, f"{'Answers':{LABEL_WIDTH}}"))
        if self._bar is not None:
            self._bar.update(max(0, evaluation.done - self._bar.pos))


@contextlib.contextmanager
def telling_how_to_wait(command: str) -> Iterator[None]:
    """Say that the evaluation goes on, and how to see its report, if the wait for it is broken off.

    Args:
        command: waits for the report and prints it.
    """
    try:
        yield
    except KeyboardInterrupt as exc:
        raise Interrupted(f"\nInterrupted. The evaluation goes on.\n  see its report: {command}") from exc


def report_command(job: TrainingJob) -> str:
    """Return the command that prints the newest report of a job."""
    return with_same_backend(f"arkor report {one_line(job.id)}")


def show_report(report: EvaluationReport, *, as_json: bool, output: Path | None) -> None:
    """Print a report, and write it to a file if one is named.

    Raises:
        ConfigError: the name of the file has another ending.
        ArkorError: the file cannot be written.
    """
    click.echo(json_line(report.to_wire()) if as_json else str(report))
    if output is not None:
        report.save(output)
        click.echo(f"Written: {one_line(str(output))}", err=True)
