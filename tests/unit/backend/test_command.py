"""The command line of the backend: what becomes a setting."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from arkor.backend import server
from arkor.backend.command import main
from arkor.backend.settings import Settings


def settings_of(monkeypatch: pytest.MonkeyPatch, *options: str) -> Settings:
    """Return the settings that a backend with these options would serve with."""
    served: list[Settings] = []
    monkeypatch.setattr(server, "serve", served.append)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)  # it would outlast the test
    ended = CliRunner().invoke(main, ["--data", "/data", *options], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return served[0]


def test_what_a_full_disk_does_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long jobs wait, when they are tried again, and how much room is enough."""
    found = settings_of(monkeypatch, "--disk-patience", "7.5", "--disk-retry", "0.5", "--disk-room", "0")
    assert (found.disk_patience_s, found.disk_retry_s, found.disk_room_bytes) == (7.5, 0.5, 0)


def test_what_is_not_set_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the settings."""
    monkeypatch.delenv("ARKOR_CHAT_ENGINE")
    assert settings_of(monkeypatch) == Settings(data=Path("/data"))


def test_the_engine_of_chats_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a variable, which the local backend is started with, or by an option, which wins; other names are refused."""
    monkeypatch.setenv("ARKOR_CHAT_ENGINE", "llama.cpp")
    monkeypatch.setenv("ARKOR_CHAT_DTYPE", "q8_0")
    found = settings_of(monkeypatch)
    assert (found.chat_engine, found.chat_dtype) == ("llama.cpp", "q8_0")
    assert settings_of(monkeypatch, "--chat-engine", "transformers").chat_engine == "transformers"
    monkeypatch.setenv("ARKOR_CHAT_ENGINE", "vllm")
    ended = CliRunner().invoke(main, ["--data", "/data"])
    assert ended.exit_code == 2
    assert "ARKOR_CHAT_ENGINE" in ended.output
    assert "'vllm' is not one of 'auto', 'llama.cpp', 'transformers'" in ended.output


def test_the_engine_of_workers_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """By variables or by options, which win; the address needs no slash at its end, and has no password."""
    monkeypatch.setenv("ARKOR_ENGINE", "ray")
    monkeypatch.setenv("ARKOR_RAY_ADDRESS", "http://head:8265/")
    found = settings_of(monkeypatch, "--ray-cpus", "2", "--ray-gpus", "0.5", "--ray-python", "/opt/python")
    assert (found.engine, found.ray_address, found.trains_here) == ("ray", "http://head:8265", False)
    assert (found.ray_cpus, found.ray_gpus, found.ray_python) == (2.0, 0.5, "/opt/python")
    assert settings_of(monkeypatch, "--engine", "process").trains_here
    for options in (["--ray-address", "http://me:secret@head"], ["--ray-cpus", "0"], ["--engine", "slurm"]):
        assert CliRunner().invoke(main, ["--data", "/data", *options]).exit_code == 2


def test_the_storage_is_the_data_folder_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is absolute: workers have another working folder."""
    assert settings_of(monkeypatch).storage == "/data"
    assert settings_of(monkeypatch, "--storage", "shared").storage == str(Path.cwd() / "shared")
    found = settings_of(monkeypatch, "--storage", "s3://bucket/x", "--retention", "60", "--storage-patience", "2")
    assert (found.storage, found.retention_s, found.storage_patience_s) == ("s3://bucket/x", 60.0, 2.0)
