"""An artifact that is run from another folder: all of it comes from the project that it lies in."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from tests.support.cloud import Cloud
from tests.support.commands import Command, run
from tests.support.contract import Stream
from tests.support.events import frame, started
from tests.support.eventually import eventually
from tests.support.sources import write_sources

ENTRY = """\
from pathlib import Path

import beside
from arkor import HuggingFaceDataset, Trainer

trainer = Trainer(name=Path("name.txt").read_text() + beside.END, model="m", dataset=HuggingFaceDataset("a/b"))
"""


@pytest.fixture
def artifact(project: Path) -> Path:
    """The artifact of a project that reads a file and imports a module of its own."""
    write_sources(project, {"src/arkor/index.py": ENTRY, "beside.py": "END = '!'\n", "name.txt": "mine"})
    assert run("build").code == 0
    return project / ".arkor/build/index.pyz"


@pytest.fixture
def elsewhere(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory now."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state_files(folder: Path) -> list[Path]:
    """Return the files that say which project of the backend a folder is."""
    return sorted(folder.rglob("state.json"))


@pytest.mark.parametrize("how", ["python", "absolute", "relative"])
def test_it_runs_in_its_own_project(arkor_cloud: Cloud, artifact: Path, elsewhere: Path, how: str) -> None:
    """Its imports, its files and its state."""
    (elsewhere / "link").symlink_to(artifact.parents[2])
    arguments = {"absolute": str(artifact), "relative": "link/.arkor/build/index.pyz"}
    ended = Command(program=[str(artifact)]).end() if how == "python" else run("start", arguments[how])
    assert ended.code == 0, ended.err
    assert [job["name"] for job in arkor_cloud.jobs.values()] == ["mine!"]
    assert state_files(artifact.parents[2])
    assert not (elsewhere / ".arkor").exists()


def test_the_commands_that_it_names_work_where_they_are_typed(
    arkor_cloud: Cloud, artifact: Path, elsewhere: Path
) -> None:
    """They go to the project first."""
    arkor_cloud.stream(Stream(frames=[frame(1, started())], gate=threading.Event()))
    command = Command(program=[str(artifact)])
    eventually(lambda: arkor_cloud.streams, "the job is followed")
    ended = command.interrupt()
    assert f"follow it: cd {artifact.parents[2]} && arkor attach job_1\n" in ended.err
    detached = Command("--detach", program=[str(artifact)]).end()
    assert f"cd {artifact.parents[2]} && arkor cancel job_2\n" in detached.err


def test_run_trainer_comes_back(arkor_cloud: Cloud, artifact: Path, elsewhere: Path) -> None:
    """The working directory is the project's meanwhile."""
    script = f"import os, arkor; print(arkor.run_trainer({str(artifact)!r}).job.name, os.getcwd())"
    ended = Command(program=("-c", script)).end()
    assert ended.out.splitlines()[-1] == f"mine! {elsewhere}"
    assert not (elsewhere / ".arkor").exists()


def test_a_copy_that_lies_in_no_project_runs_where_it_is_started(
    arkor_cloud: Cloud, artifact: Path, elsewhere: Path
) -> None:
    """There its imports and its files have to be."""
    shutil.copy(artifact, elsewhere / "copy.pyz")
    write_sources(elsewhere, {"beside.py": "END = '?'\n", "name.txt": "other"})
    assert run("start", "copy.pyz").code == 0
    assert [job["name"] for job in arkor_cloud.jobs.values()] == ["other?"]
    assert state_files(elsewhere)
