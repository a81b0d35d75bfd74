"""One table from errors to exit codes."""

from __future__ import annotations

import logging
from pathlib import Path

import click
import pytest

from arkor import errors
from arkor.cli.exits import Interrupted, exit_code, run_and_exit
from arkor.client.result import TrainingFailed, TrainingResult
from arkor.protocol.jobs import TrainingJob


def test_no_terminal_obeys_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """What is logged may have a backend's words in it."""

    def warn() -> None:
        logging.getLogger("arkor.any").warning("%s", errors.error_for_status(503, "away\x1b]0;\x07"))

    with pytest.raises(SystemExit):
        run_and_exit(click.Command("any", callback=warn), [])
    assert capsys.readouterr().err == "Warning: away ]0; \n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TrainingFailed(TrainingResult(TrainingJob(id="job_1"))), 1),
        (errors.ConfigError("max_steps", "words"), 2),
        (errors.DatasetError("rows.jsonl", "words"), 2),
        (errors.EntryError("words"), 2),
        (errors.BuildError("words"), 2),
        (errors.ModelError("words"), 2),
        (errors.ScaffoldError("words"), 2),
        (errors.StudioError("words"), 2),
        (errors.error_for_status(400, "words"), 2),
        (errors.error_for_status(413, "words"), 2),
        (errors.error_for_status(422, "words"), 2),
        (click.UsageError("words"), 2),
        (errors.ArkorError("words"), 3),
        (errors.Aborted("words"), 3),
        (errors.ReconnectExhausted(3), 3),
        (errors.StreamError("words"), 3),
        (errors.ConnectionFailed("words"), 3),
        (errors.LocalBackendError("words"), 3),
        (errors.CredentialsError("words"), 3),
        (errors.ProjectStateError("words"), 3),
        (errors.UnsupportedByBackend("words", "backend"), 3),
        *((errors.error_for_status(status, "words"), 3) for status in (401, 403, 404, 409, 426, 429, 500, 503)),
        (ZeroDivisionError(), 3),
        (errors.WaitTimeout("words"), 124),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (Interrupted("words"), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_error_has_its_exit_code(error: BaseException, code: int) -> None:
    """1 not completed, 2 bad input, 3 could not find out, 124 timeout, 130 interrupted."""
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("is_cloud", "hint"), [(True, " To use the backend on this machine instead, add --local."), (False, "")]
)
def test_without_the_cloud_the_backend_on_this_machine_is_suggested(
    is_cloud: bool, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the words of the command line; a backend of one's own that is away has no such way out."""

    def fail() -> None:
        raise errors.ConnectionFailed("No answer.", sent=False, is_cloud=is_cloud)

    with pytest.raises(SystemExit, match="3"):
        run_and_exit(click.Command("start", callback=fail), [])
    assert capsys.readouterr().err == f"Error: No answer.{hint}\n"


def test_a_folder_that_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As that, and not as some file that was not found."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit, match="3"):
        run_and_exit(click.Command("start", callback=Path.cwd), [])
    assert capsys.readouterr().err == "Error: The folder you are in has been removed. Go to the project's folder.\n"
