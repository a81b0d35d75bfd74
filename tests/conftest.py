"""What every test gets: a HOME and a project folder of its own, no settings and no notices from outside.

No test may leave a thread behind.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project
from arkor.http import deprecation
from tests.support.cloud import Cloud
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[1]
MODEL = "smollm2-135m"
_ENGINE = "ARKOR_CHAT_ENGINE"
_PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})


# A busy machine is no failure.
settings.register_profile("arkor", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("arkor")


def pytest_configure() -> None:
    """Let the processes that tests start compile arkor once, not each on its own, whatever the environment says.

    Chats are answered by transformers, unless the environment says otherwise: by llama.cpp each test's backend would
    convert its models first. The tests of chats run a second time with ``ARKOR_CHAT_ENGINE=llama.cpp``.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault(_ENGINE, "transformers")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run one process more than there are cores: tests wait for others a good part of their time."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def _own_world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see the user's files or settings."""
    root = tmp_path_factory.mktemp("world")
    for folder in ("home", "my-project"):
        (root / folder).mkdir()
    for name in list(os.environ):
        if (name.startswith("ARKOR_") and name != _ENGINE) or name.lower() in _PROXY_VARIABLES or name == "NETRC":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(root / "home"))
    monkeypatch.chdir(root / "my-project")
    monkeypatch.setattr(deprecation, "_memory", deprecation._Memory())


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """Fail a test that leaves one of arkor's own threads behind; a watcher may take one period to leave."""
    before = set(threading.enumerate())
    yield
    eventually(lambda: not (_own_threads() - before), "arkor's threads have left")


def _own_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("arkor")}


@pytest.fixture(scope="session")
def model_home(pytestconfig: pytest.Config) -> Path:
    """A HOME with the model in it: this user's own where it is ready there, else one that is kept between runs."""
    from arkor.backend.models.catalogue import is_model_folder

    own = Path(pwd.getpwuid(os.getuid()).pw_dir)
    if is_model_folder(own / ".arkor" / "models" / MODEL):
        return own
    home = pytestconfig.cache.mkdir("arkor-home")
    command = [sys.executable, "-m", "arkor.backend.models", "pull", MODEL]
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, timeout=200)
    return home


@pytest.fixture
def home() -> Path:
    """The user's home folder."""
    return Path.home()


@pytest.fixture
def project() -> Path:
    """The project folder, which is the working directory."""
    return Path.cwd()


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A stand-in for Arkor Cloud that nothing is pointed at yet."""
    with Cloud() as running:
        yield running


@pytest.fixture
def arkor_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A stand-in for Arkor Cloud that is the default backend."""
    monkeypatch.setenv("ARKOR_CLOUD_API_URL", cloud.url)
    return cloud


@pytest.fixture
def routed_cloud(arkor_cloud: Cloud, project: Path) -> Cloud:
    """A stand-in that is the default backend, in a folder whose project it knows."""
    client = CloudApiClient.connect()
    ensure_project(client, project)
    client.close()
    return arkor_cloud


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: a very small model is slower with more, above all beside other work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
