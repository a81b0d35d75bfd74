"""``arkor dev`` from its port to its end: what it prints, what it leaves, who may have its token."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from arkor import Trainer
from arkor.errors import StudioError
from arkor.studio import launch
from arkor.system.origin import install_command
from tests.support.cloud import Cloud
from tests.support.commands import run
from tests.support.contract import Stream
from tests.support.eventually import eventually
from tests.support.studio import TIMEOUT_S, StudioProcess, write_entry


@pytest.fixture
def token_file(home: Path) -> Path:
    """Where the token of the last launch is."""
    return home / ".arkor" / "studio-token"


@contextlib.contextmanager
def _taken(port: int = 0) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", port)) as server:
        yield int(server.getsockname()[1])


def _state(call: str, headers: dict[str, str]) -> Any:
    return requests.get(call, headers=headers, timeout=TIMEOUT_S).json()


def test_a_launch_has_an_identity_at_once(arkor_cloud: Cloud, home: Path) -> None:
    """As every command that needs one: a new anonymous one where there is none."""
    with StudioProcess():
        eventually(lambda: list((home / ".arkor/hosts").glob("*.json")), "there is an identity")
    assert len(arkor_cloud.calls("POST", "/v1/auth/anonymous")) == 1


def test_other_programs_find_its_address_until_it_ends(arkor_cloud: Cloud, home: Path) -> None:
    """The card in a notebook has a link to it, while it runs."""
    trainer = Trainer.attach("job_1")
    assert trainer._showing._address() is None
    with StudioProcess() as studio:
        assert trainer._showing._address() == f"{studio.url}/#/jobs/job_1"
    assert not (home / ".arkor" / "studio-address").exists()
    (home / ".arkor" / "studio-address").write_text("http://127.0.0.1:9/")  # of one that was killed
    assert trainer._showing._address() is None


def test_the_page_opens_without_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line says that it is down; the exit code does not."""
    monkeypatch.setenv("ARKOR_CLOUD_API_URL", "http://127.0.0.1:9")
    with StudioProcess() as studio:
        eventually(lambda: "Warning: " in studio.shown, "it is told")
        assert "<!doctype html>" in studio.get("/").text.lower()
        assert studio.end(signal.SIGINT) == 130
    assert studio.shown.count("\n") == 2
    assert "but the backend cannot be used: No answer from http://127.0.0.1:9" in studio.shown


def test_the_token_file_is_of_the_last_launch(arkor_cloud: Cloud, token_file: Path) -> None:
    """Two at once have ports and tokens of their own; the file goes with the launch that it is of."""
    with StudioProcess() as first:
        assert token_file.read_text() == first.token
        with StudioProcess() as second:
            assert (first.token != second.token, first.port != second.port) == (True, True)
            assert first.get("/api/train", headers={"X-Arkor-Studio-Token": second.token}).status_code == 403
            assert first.end() == 128 + signal.SIGTERM
            assert token_file.read_text() == second.token
    assert not token_file.exists()


def test_the_token_file_is_private_from_its_first_byte(
    arkor_cloud: Cloud, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in place of one that everybody could read, and where it cannot be written there is a page all the same."""
    token_file.parent.mkdir()
    token_file.write_text("old")
    token_file.chmod(0o644)
    with StudioProcess() as studio:
        assert token_file.stat().st_mode & 0o777 == 0o600
        token_file.unlink()
        token_file.mkdir()
        assert studio.end() == 128 + signal.SIGTERM
    with StudioProcess() as studio:
        assert f"Warning: {token_file} cannot be written" in studio.shown


def test_a_port_of_ones_own_choice_has_to_be_free() -> None:
    """The message says what is wrong and what to do; nothing is left behind."""
    with _taken() as port:
        ended = run("dev", "--port", str(port))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"Error: Port {port} of 127.0.0.1 is in use by another program. Stop that one, or name another port "
        "with --port.\n"
    )


def test_the_default_port_gives_way(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """To the first free one of ten, with a warning; then there is an error."""
    with _taken() as port, contextlib.ExitStack() as others:
        monkeypatch.setattr(launch, "DEFAULT_PORT", port)
        monkeypatch.setattr(launch, "PORTS_TRIED", 2)
        with contextlib.suppress(OSError):
            others.enter_context(_taken(port + 1))
        with pytest.raises(StudioError, match=f"Ports {port} to {port + 1} of 127.0.0.1 are all in use"):
            others.enter_context(launch.listening(None))
        monkeypatch.setattr(launch, "PORTS_TRIED", 10)
        bound = others.enter_context(launch.listening(None))
        chosen = bound.getsockname()[1]
        assert port + 1 < chosen < port + 10
    assert f"Port {port} is in use by another program; Studio takes {chosen}." in caplog.text


def test_without_the_extra_one_line_says_what_to_install() -> None:
    """And nothing else happens."""
    code = "import sys; sys.modules['plotly'] = None; from arkor.cli import main; main(['dev'])"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"Error: Studio needs plotly. Install it with: {install_command('studio')}\n"


def test_the_page_is_opened_when_it_is_there(arkor_cloud: Cloud, project: Path) -> None:
    """By the browser of the user's choice."""
    browser = project / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {project}/opened\n')
    browser.chmod(0o755)
    with StudioProcess("--open", environment={"BROWSER": f"{browser} %s"}) as studio:
        eventually(lambda: (project / "opened").is_file() and (project / "opened").read_text(), "the page is opened")
        assert (project / "opened").read_text() == f"{studio.url}/\n"


def test_a_terminal_that_is_gone_changes_no_exit_code(arkor_cloud: Cloud, token_file: Path) -> None:
    """Closing a terminal is a SIGHUP, and there is nobody left to be told what goes on."""
    arkor_cloud.stream(Stream(frames=[], gate=threading.Event()))
    write_entry()
    command = [sys.executable, "-m", "arkor.cli", "dev", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        call = f"{process.stdout.readline().split()[-1]}api/train"
        headers = {"X-Arkor-Studio-Token": token_file.read_text()}
        with requests.post(call, json={}, headers=headers, stream=True, timeout=TIMEOUT_S):
            eventually(lambda: _state(call, headers)["run"]["jobId"], "the job is known")
        process.stdout.close()
        process.send_signal(signal.SIGHUP)
        assert process.wait(TIMEOUT_S) == 128 + signal.SIGHUP


def test_a_launch_under_nohup_outlives_its_terminal(arkor_cloud: Cloud) -> None:
    """SIGHUP is ignored then, as whoever started it wants; SIGTERM ends it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        studio = StudioProcess()
    finally:
        signal.signal(signal.SIGHUP, before)
    with studio:
        studio.process.send_signal(signal.SIGHUP)
        assert studio.get("/api/train").status_code == 200
        assert studio.end() == 128 + signal.SIGTERM
