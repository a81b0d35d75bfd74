"""Which program at an address counts as this user's own backend, and gets a token."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from arkor.auth.identity import Identity
from arkor.client import local_backend
from arkor.client.client import CloudApiClient
from arkor.client.server_note import ServerNote
from arkor.errors import ConnectionFailed, LocalBackendError, WaitTimeout
from arkor.http.abort import AbortScope, Deadline
from arkor.protocol.proof import new_secret
from tests.support.stranger import GOOD, note, stranger

STARTED = "http://127.0.0.1:2"
MINE = {"pid": os.getpid(), "createTime": psutil.Process().create_time()}


@pytest.fixture
def server_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of ``server.json``; a start of a backend says so, and does nothing."""
    monkeypatch.setattr(local_backend, "_start", lambda: STARTED)
    path = home / ".arkor" / "local" / "server.json"
    path.parent.mkdir(parents=True)
    return path


def ended_pid() -> int:
    """Return the id of a process that is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize("body", [GOOD, b"[]", b"{", b"", b'{"proof": null}', b'{"proof": "0"}', b"[" * 60_000])
def test_a_stranger_on_the_port_is_told_apart(server_file: Path, caplog: pytest.LogCaptureFixture, body: bytes) -> None:
    """A 200 is not enough: the old file goes, a warning says so without the secret, and a backend is started."""
    secret = new_secret()
    with stranger(body=body) as other, caplog.at_level(logging.WARNING, "arkor"):
        server_file.write_text(note(other.url, **MINE, secret=secret))
        assert local_backend.find_or_start() == STARTED
    assert not server_file.exists()
    assert [path for _, path, _ in other.requests] == ["/healthz"]
    assert not other.saw_a_token
    assert other.url in caplog.text
    assert secret not in caplog.text


@pytest.mark.parametrize(
    "process",
    [{}, {"pid": None}, {"pid": 0}, {"pid": -1}, {"pid": 10**30}, {"pid": True}, {"pid": 1, "createTime": 0}],
)
def test_an_older_backends_file_counts_only_with_its_process(server_file: Path, process: dict[str, Any]) -> None:
    """Without a secret there is no proof: a process that is gone, or no process at all, makes the file an old one."""
    with stranger() as other:
        server_file.write_text(note(other.url, **process))
        assert local_backend.find_or_start() == STARTED
    assert not server_file.exists()
    assert not other.requests


def test_a_process_id_that_is_used_again_is_not_the_backend(server_file: Path) -> None:
    """The process was created at another moment than the file says, or has ended."""
    if sys.platform != "linux":
        pytest.skip("only Linux says when a process was created")
    with stranger() as other:
        for process in ({**MINE, "createTime": MINE["createTime"] - 60}, {"pid": ended_pid(), "createTime": 1.0}):
            server_file.write_text(note(other.url, **process))
            assert local_backend.find_or_start() == STARTED
            assert not server_file.exists()


def test_a_running_backend_of_an_older_arkor_is_found(server_file: Path) -> None:
    """Its file has no secret, but its process is there; so it stays in use, with its jobs."""
    with stranger() as older:
        server_file.write_text(note(older.url, **MINE))
        assert local_backend.find_or_start() == older.url
        local_backend.check_alive(older.url)
    assert server_file.exists()


def test_the_file_of_a_killed_backend_stays_while_its_port_is_free(server_file: Path) -> None:
    """The next backend takes the same port, because workers that survived report there."""
    with stranger() as other:
        pass
    server_file.write_text(note(other.url, **MINE, secret=new_secret()))
    assert local_backend.find_or_start() == STARTED
    assert server_file.exists()


@pytest.mark.parametrize("url", ["no address", "http://", "ftp://127.0.0.1", "http://127.0.0.1:99999", "http://a@b"])
def test_an_address_that_is_none_leads_to_a_start(server_file: Path, url: str) -> None:
    """A file that was damaged ends no command."""
    server_file.write_text(note(url))
    assert local_backend.find_or_start() == STARTED


@pytest.mark.parametrize("alive", [True, False])
def test_a_listener_that_is_silent_counts_while_the_process_runs(
    server_file: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    """A backend that is busy is not replaced; but it gets no token before it has proven who it is."""
    monkeypatch.setattr(local_backend, "HEALTH_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = MINE if alive else {"pid": ended_pid(), "createTime": 1.0}
        server_file.write_text(note(url, **process, secret=new_secret()))
        assert local_backend.find_or_start() == (url if alive else STARTED)
        assert server_file.exists() == alive


def test_a_deadline_ends_the_search(server_file: Path) -> None:
    """An answer that was cut short says nothing: the file stays, and no second backend is started."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        process = {"pid": ended_pid(), "createTime": 1.0}
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server_file.write_text(note(url, **process, secret=new_secret()))
        with AbortScope(None, Deadline(0.2)) as limits, limits.active(), pytest.raises(WaitTimeout):
            local_backend.find_or_start()
    assert server_file.exists()


def test_a_client_sends_no_token_to_a_stranger(server_file: Path) -> None:
    """Also one that was connected before: the backend died, and its port is another program's now."""
    with stranger() as other:
        server_file.write_text(note(other.url, **MINE, secret=new_secret()))
        client = CloudApiClient(other.url, identity=Identity("the-token", "local"))
        with pytest.raises(ConnectionFailed, match="another program listens there") as caught:
            client.me()
        with pytest.raises(LocalBackendError, match="is gone"):
            client.check_alive()
        server_file.unlink()
        with pytest.raises(ConnectionFailed, match="another program listens there"):
            client.me()
        client.close()
    assert not caught.value.sent
    assert {path for _, path, _ in other.requests} == {"/healthz"}
    assert not other.saw_a_token


def test_the_secret_is_not_in_the_repr(tmp_path: Path) -> None:
    """Tracebacks with local variables end up in reports."""
    path = tmp_path / "server.json"
    path.write_text(note("http://127.0.0.1:1", secret="hidden-secret"))
    found = ServerNote.read(path)
    assert found is not None
    assert found.secret == "hidden-secret"
    assert "hidden-secret" not in repr(found)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", json.dumps({"url": 3}), "[" * 100_000])
def test_a_file_without_an_address_is_none(tmp_path: Path, content: str) -> None:
    """Broken, or not ours."""
    path = tmp_path / "server.json"
    assert ServerNote.read(path) is None
    path.write_text(content)
    assert ServerNote.read(path) is None


def test_the_users_own_backend_accepts_what_the_user_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model folder and every URL: it serves nobody else."""
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: commands.append(command))
    monkeypatch.setattr(local_backend, "_wait_until_ready", lambda *_: STARTED)
    assert local_backend.find_or_start() == STARTED
    assert commands[0][commands[0].index("--model-root") + 1] == "/"
    assert "--allow-private-urls" in commands[0]
