"""Small parts of the backend, each alone."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from arkor.backend.jobs.job_folder import log_tail
from arkor.backend.processes.exit_reasons import describe_death, describe_exit
from arkor.backend.server_file import ServerFile
from arkor.backend.store.feed import Feed
from arkor.backend.store.sqlite import SqliteDatabase
from arkor.errors import LocalBackendError


@pytest.mark.parametrize(
    ("exit_code", "text"),
    [
        (-9, "its worker was killed by signal SIGKILL (often: out of memory)"),
        (-11, "its worker was killed by signal SIGSEGV"),
        (-77, "its worker was killed by signal 77"),
    ],
)
def test_a_death_is_named_by_its_signal(exit_code: int, text: str) -> None:
    """By its number, if the system has no name for it."""
    assert describe_death(exit_code) == text


def test_an_ending_is_named_by_its_code() -> None:
    """The end of the log follows."""
    text = "The worker ended with exit code 7 without saying how the training went."
    assert describe_exit(7, "") == f"{text}\nIts log is empty."
    assert describe_exit(7, "a\nb") == f"{text}\nThe end of its log:\na\nb"


def test_a_log_tail_is_of_the_last_attempt(tmp_path: Path) -> None:
    """Its last 15 lines, and not more than 3000 bytes."""
    log = tmp_path / "worker.log"
    assert log_tail(log) == ""
    log.write_text("--- attempt 1 ---\nold\n--- attempt 2 ---\n")
    assert log_tail(log) == ""
    log.write_text("--- attempt 1 ---\nold\n--- attempt 2 ---\nnew\n")
    assert log_tail(log) == "new"
    log.write_bytes(b"--- attempt 1 ---\n" + b"x" * 5000 + b"\n" + b"\xff\n" * 20)
    assert log_tail(log) == "\n".join(["�"] * 15)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"\xff", b"[]", b"{}", b'{"url": 3}', b'{"url": "http://127.0.0.1:99999"}', b'{"url": null}'],
)
def test_a_server_file_that_names_no_port_is_none(tmp_path: Path, content: bytes | None) -> None:
    """Absent or broken."""
    path = tmp_path / "server.json"
    if content is not None:
        path.write_bytes(content)
    assert ServerFile(path).former_port() is None
    ServerFile(path).remove_if_ours()
    assert path.exists() == (content is not None)


def test_a_server_file_is_removed_by_its_owner_alone(tmp_path: Path) -> None:
    """Another backend may have taken over the address."""
    path = tmp_path / "server.json"
    file = ServerFile(path)
    file.write("http://127.0.0.1:4567")
    assert file.former_port() == 4567
    body = json.loads(path.read_bytes())
    path.write_text(json.dumps({**body, "pid": os.getpid() + 1}))
    file.remove_if_ours()
    assert path.exists()
    path.write_text(json.dumps(body))
    file.remove_if_ours()
    assert not path.exists()


def test_each_backend_has_a_secret_of_its_own(tmp_path: Path) -> None:
    """It is in the file, which only the user can read, and not in the repr."""
    path = tmp_path / "server.json"
    first, second = ServerFile(path), ServerFile(path)
    first.write("http://127.0.0.1:4567")
    assert json.loads(path.read_bytes())["secret"] == first.secret != second.secret
    assert path.stat().st_mode & 0o777 == 0o600
    assert first.secret not in repr(first)


def test_the_database_of_a_newer_arkor_is_left_alone(tmp_path: Path) -> None:
    """A clear error rather than wrong answers."""
    path = tmp_path / "db.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LocalBackendError, match="newer arkor"):
        SqliteDatabase(path, Feed())
