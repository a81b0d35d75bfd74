"""Every folder below ``~/.arkor`` is created for its user alone, whatever the umask."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arkor.auth.credentials import AnonymousCredentials, credentials_path, held, write_credentials
from arkor.backend import server
from arkor.backend.backend import Backend
from arkor.backend.models import pulling
from arkor.backend.settings import Settings
from arkor.client import local_backend
from arkor.errors import LocalBackendError
from arkor.studio.launch import _LaunchFile

HOST = "127.0.0.1_4747"


@pytest.fixture(params=[0o000, 0o022, 0o177])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def _store_identity(_: pytest.MonkeyPatch) -> None:
    write_credentials(AnonymousCredentials(token="t", anonymous_id="a", org_slug="o"), credentials_path(HOST))


def _hold_identity(_: pytest.MonkeyPatch) -> None:
    with held(credentials_path(HOST)):
        pass


def _launch_studio(_: pytest.MonkeyPatch) -> None:
    _LaunchFile("studio-token", "token").write()


def _start_local_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise LocalBackendError("no packages")

    monkeypatch.setattr(local_backend, "_start", fail)
    with contextlib.suppress(LocalBackendError):
        local_backend.find_or_start()


def _serve(_: pytest.MonkeyPatch) -> None:
    settings = Settings(data=Path.home() / ".arkor/server")
    with server._sole_user(settings):
        pass


def _open_data(_: pytest.MonkeyPatch) -> None:
    backend = Backend(Settings(data=Path.home() / ".arkor/server"), "http://127.0.0.1:1")
    backend.close()


def _pull_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "_make", lambda *_: None)
    pulling.pull("smollm2-135m")


MAKERS = [_store_identity, _hold_identity, _launch_studio, _start_local_backend, _serve, _open_data, _pull_model]


def _modes(home: Path) -> set[int]:
    folders = [home / ".arkor", *(path for path in (home / ".arkor").iterdir() if path.is_dir())]
    return {stat.S_IMODE(folder.stat().st_mode) for folder in folders}


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("make", MAKERS, ids=[make.__name__.strip("_") for make in MAKERS])
def test_a_new_folder_is_private(
    home: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """And so is each one above it that was missing."""
    make(monkeypatch)
    assert _modes(home) == {0o700}


def test_a_folder_of_the_user_keeps_its_mode(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may share it on purpose."""
    (home / ".arkor").mkdir()
    (home / ".arkor").chmod(0o750)
    _store_identity(monkeypatch)
    assert stat.S_IMODE((home / ".arkor").stat().st_mode) == 0o750
