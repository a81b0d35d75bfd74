"""Exit codes, and how errors are shown: one clear message on stderr, a traceback only with ``--debug``."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import NoReturn

import click

from arkor.cli.display.closed_pipes import outliving
from arkor.cli.signals import Termination
from arkor.text import printable

COMPLETED = 0
NOT_COMPLETED = 1
BAD_INPUT = 2
UNKNOWN = 3
TIMED_OUT = 124
INTERRUPTED = 130

_MORE = "(--debug shows the whole traceback)"
_NOTICES = "arkor.http.deprecation"
_PACKAGES = frozenset({"site-packages", "dist-packages"})
_REFUSED_INPUT = frozenset({400, 413, 422})
_BAD_INPUT_ERRORS = (
    "ConfigError",
    "DatasetError",
    "EntryError",
    "BuildError",
    "ModelError",
    "ScaffoldError",
    "StudioError",
)


class _Shown(logging.Handler):
    """Shows log records on what stderr is at that moment: a progress bar may have its place there."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(printable(self.format(record)), err=True)


class Refused(click.ClickException):
    """A request that is refused; nothing was changed."""

    exit_code = BAD_INPUT


class Interrupted(Exception):
    """Ctrl-C, SIGTERM or SIGHUP, with a message about the job that keeps running."""


def exit_code(exc: BaseException) -> int:
    """Return the exit code that an error stands for."""
    from arkor import errors  # here and below: --help and --version need none of it
    from arkor.client.result import TrainingFailed

    if isinstance(exc, click.ClickException):
        return exc.exit_code
    if isinstance(exc, errors.CloudApiError):
        return BAD_INPUT if exc.status in _REFUSED_INPUT else UNKNOWN
    bad_input = tuple(getattr(errors, name) for name in _BAD_INPUT_ERRORS)
    codes: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
        ((Interrupted, KeyboardInterrupt, click.Abort), INTERRUPTED),
        ((TrainingFailed, errors.EvaluationFailed, errors.ExportFailed, errors.NotReproducible), NOT_COMPLETED),
        ((errors.WaitTimeout,), TIMED_OUT),
        (bad_input, BAD_INPUT),
    )
    return next((code for types, code in codes if isinstance(exc, types)), UNKNOWN)


def run_and_exit(command: click.Command, arguments: list[str]) -> NoReturn:
    """Run a command, show what went wrong and what the backend gives notice of, and exit with the code that fits.

    If nobody reads its output any more, as of ``arkor jobs | head -1``, the rest is dropped: the exit code is the same.
    """
    sys.stdout, sys.stderr = outliving(sys.stdout), outliving(sys.stderr)
    shown = _Shown()
    shown.setFormatter(logging.Formatter("Warning: %(message)s"))
    shown.setLevel(logging.WARNING)
    shown.addFilter(lambda record: record.name != _NOTICES)  # those are shown once, at the end
    logging.getLogger("arkor").addHandler(shown)
    termination = Termination()
    try:
        with termination.heeded():
            code = _run(command, arguments)
    finally:
        notice = sys.modules[_NOTICES].last_notice() if _NOTICES in sys.modules else None
        if notice is not None:
            click.echo(str(notice), err=True)
    sys.exit(code if termination.number is None or code != INTERRUPTED else 128 + termination.number)


def _run(command: click.Command, arguments: list[str]) -> int:
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    rest = [argument for argument in options if argument != "--debug"] + arguments[len(options) :]
    color = False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None
    try:
        code = command.main(args=rest, prog_name="arkor", standalone_mode=False, color=color)
    except click.ClickException as exc:
        exc.show()
        return exit_code(exc)
    except (Exception, KeyboardInterrupt) as exc:
        if "--debug" in options:
            import traceback

            traceback.print_exc()
        else:
            click.echo(printable(message(exc)), err=True)
        return exit_code(exc)
    return code if isinstance(code, int) else COMPLETED


def message(exc: BaseException) -> str:
    """Return what the user reads about an error."""
    from arkor.errors import ArkorError, ConnectionFailed, EntryError

    if isinstance(exc, (Interrupted, KeyboardInterrupt, click.Abort)):
        return str(exc) or "Interrupted."
    if isinstance(exc, ConnectionFailed):
        return f"Error: {exc.advising('add --local')}"
    if isinstance(exc, EntryError) and exc.__cause__ and not isinstance(exc.__cause__, ArkorError):
        return f"Error: {exc} {_MORE}"
    if isinstance(exc, ArkorError):
        return f"Error: {exc}"
    if isinstance(exc, FileNotFoundError) and not _has_working_directory():
        return "Error: The folder you are in has been removed. Go to the project's folder."
    return f"Error: {_place(exc)}{type(exc).__name__}: {exc} {_MORE}"


def _has_working_directory() -> bool:
    from pathlib import Path

    with contextlib.suppress(FileNotFoundError):
        return Path.cwd().is_absolute()
    return False


def _place(exc: BaseException) -> str:
    """Return file and line of the last frame of the user's own code: outside of arkor, of Python and of packages."""
    import sysconfig
    import traceback
    from pathlib import Path

    not_theirs = Path(__file__).parent.parent, Path(sysconfig.get_path("stdlib"))
    for frame in reversed(traceback.extract_tb(exc.__traceback__)):
        file = Path(frame.filename)
        is_theirs = _PACKAGES.isdisjoint(file.parts) and not any(map(file.is_relative_to, not_theirs))
        if is_theirs and file.is_file():
            return f"{file}:{frame.lineno}: "
    return ""
