from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import ROOT, BackendProcess, own_backend
from tests.support.commands import run


@pytest.fixture(scope="module", autouse=True)
def _heed_interrupts() -> Iterator[None]:
    """Let Ctrl-C reach the commands also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package in a folder of packages, where pip puts it.

    An editable installation may be found by an import hook instead, which comes after every folder of the same name.
    """
    package = tmp_path / "packages" / "arkor"
    package.parent.mkdir()
    package.symlink_to(ROOT / "arkor")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), *os.environ.get("PYTHONPATH", "").split()]))
    return package


@pytest.fixture
def backend(home: Path) -> Iterator[BackendProcess]:
    """This user's own backend with scripted workers, running where ``--local`` looks for it."""
    with own_backend(home) as running:
        yield running


@pytest.fixture
def job(backend: BackendProcess, project: Path) -> str:
    """The project's job, which has completed with two checkpoints."""
    from tests.cli.test_local import write_project  # its tests are collected with this file

    write_project(project, "complete:2", save_steps=1)
    ended = run("start", "--local", "--json")
    assert ended.code == 0, ended.err
    return str(json.loads(ended.out.splitlines()[0])["jobId"])
