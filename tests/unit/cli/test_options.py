"""What commands share: time spans, and what is said when a wait is broken off."""

from __future__ import annotations

from typing import Any
from unittest import mock

import click
import pytest
from click.testing import CliRunner

from arkor.cli.commands.start import start
from arkor.cli.exits import Interrupted
from arkor.cli.options import duration, how_to_go_on, telling_how_to_go_on
from arkor.errors import ConnectionFailed
from arkor.protocol.jobs import TrainingJob
from arkor.trainer.trainer import Trainer

COMMAND = click.Command("start")


JOB = TrainingJob(id="job_1", status="running")


def following(backend: str | None = None) -> Any:
    """Return a stand-in for a trainer whose job runs."""
    return mock.create_autospec(Trainer, instance=True, job=JOB, backend=backend)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("2H", 7200), (" 1h30m ", 5400), ("1d1s", 86401), ("2h30m5s", 9005)]
)
def test_a_time_span_is_read(text: str, seconds: float) -> None:
    """Each number has its unit; one alone is seconds."""
    assert duration(click.Context(COMMAND), click.Option(["--timeout"]), text) == seconds


@pytest.mark.parametrize("timeout", ["soon", "0", "-1", "1.5h", ""])
def test_a_time_span_that_is_none_is_refused(timeout: str) -> None:
    """Before the entry is looked at."""
    ended = CliRunner().invoke(start, ["--timeout", timeout])
    assert ended.exit_code == 2
    assert "is not a time span such as 2h, 15m or 90s" in ended.stderr


def test_a_number_behind_a_unit_needs_its_own() -> None:
    """2h30 would be two hours and a half to most, and half a minute more than two hours to a program."""
    with pytest.raises(click.BadParameter, match="'2h30' is not a time span"):
        duration(click.Context(COMMAND), click.Option(["--timeout"]), "2h30")


@pytest.mark.parametrize("reason", [SystemExit(0), ZeroDivisionError()])
def test_a_callback_that_ends_the_wait_leaves_a_word(reason: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    """The job goes on, and how to reach it, also where the callback called exit()."""
    with pytest.raises(type(reason)), telling_how_to_go_on(following()):
        raise reason
    assert "Job job_1 keeps running.\n  follow it: arkor attach job_1\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("why", "said"), [(ConnectionFailed("No answer."), "No answer."), (KeyboardInterrupt(), "interrupted once more.")]
)
def test_a_job_that_ctrl_c_could_not_stop_is_told(why: BaseException, said: str) -> None:
    """It is an interrupt all the same; the words say why, and how to stop the job."""
    trainer = following(backend="local")
    trainer.cancel.side_effect = why
    with pytest.raises(Interrupted) as raised, telling_how_to_go_on(trainer, cancel=True):
        raise KeyboardInterrupt
    told = f"\nInterrupted. Job job_1 was not stopped: {said}\n  stop it:   arkor cancel job_1 --local"
    assert str(raised.value) == told


@pytest.mark.parametrize(
    ("backend", "command"),
    [
        (None, "arkor attach job_1"),
        ("local", "arkor attach job_1 --local"),
        ("http://team:4747", "ARKOR_CLOUD_API_URL=http://team:4747 arkor attach job_1"),
        ("http://team/a b", "ARKOR_CLOUD_API_URL='http://team/a b' arkor attach job_1"),
    ],
)
def test_the_commands_that_are_named_reach_the_jobs_own_backend(backend: str | None, command: str) -> None:
    """Also where the entry names another than the shell's."""
    assert f"\n  follow it: {command}\n" in how_to_go_on(following(backend), JOB)


def test_a_paused_job_has_the_command_that_unpauses_it() -> None:
    """It does not go on by itself."""
    assert how_to_go_on(following("local"), TrainingJob(id="job_1", status="paused")) == (
        "Job job_1 stays paused.\n"
        "  follow it:  arkor attach job_1 --local\n"
        "  unpause it: arkor jobs unpause job_1 --local\n"
        "  stop it:    arkor cancel job_1 --local"
    )
