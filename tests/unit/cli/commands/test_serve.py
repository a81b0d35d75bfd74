"""``arkor serve``: what it starts the backend with."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from arkor.cli.commands.serve import serve
from arkor.client import local_backend


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    """Run the command, and return the command that takes its place."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: commands.append(command))
    monkeypatch.setattr(local_backend, "check_packages", lambda: None)
    result = CliRunner().invoke(serve, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return commands[0]


def test_no_model_folder_is_accepted_unless_a_root_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend accepts none by itself."""
    assert "--model-root" not in started(monkeypatch)


def test_the_root_is_handed_on_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative one starts at the working folder."""
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    command = started(monkeypatch, "--model-root", "models")
    assert command[command.index("--model-root") + 1] == str(tmp_path / "models")


def test_private_urls_are_for_the_operator_to_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend fetches from public hosts alone by itself."""
    assert "--allow-private-urls" not in started(monkeypatch)
    assert "--allow-private-urls" in started(monkeypatch, "--allow-private-urls")


def test_a_root_that_is_not_there_is_refused() -> None:
    """A slip of the pen would otherwise refuse every folder."""
    result = CliRunner().invoke(serve, ["--model-root", "/no/such/folder"])
    assert (result.exit_code, "does not exist" in result.output) == (2, True)


def test_the_bound_of_kept_rows_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend has one of its own."""
    assert "--examples-bytes" not in started(monkeypatch)
    command = started(monkeypatch, "--examples-bytes", "0")
    assert command[command.index("--examples-bytes") + 1] == "0"


@pytest.mark.parametrize(("time", "seconds"), [("2h", 7200.0), ("30d", 2592000.0), ("90", 90.0)])
def test_the_patience_with_a_full_disk_is_handed_on_in_seconds(
    monkeypatch: pytest.MonkeyPatch, time: str, seconds: float
) -> None:
    """The backend has one of its own."""
    assert "--disk-patience" not in started(monkeypatch)
    command = started(monkeypatch, "--disk-patience", time)
    assert float(command[command.index("--disk-patience") + 1]) == seconds


def test_a_patience_that_is_no_time_is_refused() -> None:
    """Before a backend is started."""
    result = CliRunner().invoke(serve, ["--disk-patience", "long"])
    assert (result.exit_code, "is not a time span such as 2h, 15m or 90s" in result.output) == (2, True)


def test_the_cluster_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend has a default for each option; it checks the values."""
    options = ["--engine", "ray", "--ray-address", "http://head:8265", "--ray-cpus", "2.0", "--ray-gpus", "0.5"]
    options += ["--ray-python", "/opt/python", "--host", "10.0.0.5", "--advertise-url", "https://trainer"]
    command = started(monkeypatch, *options)
    handed_on = dict(itertools.pairwise(command))
    assert all(handed_on[name] == value for name, value in zip(options[::2], options[1::2], strict=True))
    assert not {*options[::2]} & {*started(monkeypatch)}


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ((), "http://127.0.0.1:4747"),
        (("--host", "10.0.0.5"), "http://10.0.0.5:4747"),
        (("--host", "0.0.0.0", "--advertise-url", "https://trainer"), "https://trainer"),
    ],
)
def test_the_address_for_clients_is_printed(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], url: str
) -> None:
    """One that they can connect to."""
    monkeypatch.setattr(os, "execv", lambda *_: None)
    monkeypatch.setattr(local_backend, "check_packages", lambda: None)
    assert f"ARKOR_CLOUD_API_URL={url}. " in CliRunner().invoke(serve, options).output


def test_the_storage_and_the_retention_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time in seconds."""
    assert not {"--storage", "--retention"} & set(started(monkeypatch))
    command = started(monkeypatch, "--storage", "s3://bucket/prefix", "--retention", "90d")
    assert command[command.index("--storage") + 1] == "s3://bucket/prefix"
    assert float(command[command.index("--retention") + 1]) == 90 * 24 * 3600
