"""A folder that appears whole or not at all, whoever is interrupted and whoever was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arkor.system import staging
from arkor.system.staging import put_in_place, work_folder


def make(folder: Path, content: str) -> Path:
    """Make a folder with a file."""
    folder.mkdir(parents=True)
    (folder / "file").write_text(content)
    return folder


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(item.name for item in folder.iterdir())


def test_a_work_folder_is_hidden_and_goes(tmp_path: Path) -> None:
    """With all that is in it."""
    with work_folder(tmp_path) as work:
        make(work / "inner", "text")
        assert work.parent == tmp_path
        assert work.name.startswith(".arkor-download-")
    assert names(tmp_path) == []


def test_folders_that_were_made_for_nothing_go(tmp_path: Path) -> None:
    """Those that were there, or are used meanwhile, stay."""
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError), work_folder(tmp_path / "there" / "made" / "deep"):
        raise ZeroDivisionError
    assert names(tmp_path / "there") == []
    with work_folder(tmp_path / "made" / "deep"):
        (tmp_path / "made" / "file").write_text("somebody else's")
    assert names(tmp_path / "made") == ["file"]


def test_a_read_only_folder_in_it_does_not_keep_it(tmp_path: Path) -> None:
    """What was replaced may have had such folders."""
    with work_folder(tmp_path) as work:
        make(work / "inner", "text").chmod(0o500)
    assert names(tmp_path) == []


def test_ctrl_c_while_it_goes_does_not_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second attempt finishes what the first began."""
    calls: list[int] = []
    real = tempfile.TemporaryDirectory.cleanup

    def interrupted(self: tempfile.TemporaryDirectory[str]) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(self)

    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", interrupted)
    with pytest.raises(KeyboardInterrupt), work_folder(tmp_path) as work:
        make(work / "inner", "text")
    assert names(tmp_path) == []


@pytest.mark.parametrize("there", [None, "folder", "empty", "link", "broken link"])
def test_a_folder_takes_its_place(tmp_path: Path, there: str | None) -> None:
    """Whatever has it; what a link leads to is left alone."""
    elsewhere = make(tmp_path / "elsewhere", "theirs")
    dest, target = tmp_path / "dest", tmp_path / "dest" / "adapter"
    dest.mkdir()
    match there:
        case "folder":
            make(target, "old")
            (target / "more").write_text("old")
        case "empty":
            target.mkdir()
        case "link":
            target.symlink_to(elsewhere)
        case "broken link":
            target.symlink_to(tmp_path / "nowhere")
    with work_folder(dest) as work:
        put_in_place(make(work / "new", "new"), target, work)
    assert not target.is_symlink()
    assert (names(dest), names(target), (target / "file").read_text()) == (["adapter"], ["file"], "new")
    assert (elsewhere / "file").read_text() == "theirs"


@pytest.mark.parametrize("exc", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_whatever_ends_it_the_old_or_the_new_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, exc: type[BaseException]
) -> None:
    """Before, between, or instead of the renames: whole."""
    make(tmp_path / "adapter", "old")
    renames: list[Path] = []
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        renames.append(target)
        if len(renames) == call:
            raise exc
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with work_folder(tmp_path) as work:
        new = make(work / "new", "new")
        try:
            put_in_place(new, tmp_path / "adapter", work)
        except exc:
            expected = "old"
        else:
            expected = "new"
    assert (tmp_path / "adapter" / "file").read_text() == expected
    assert names(tmp_path) == ["adapter"]


def test_a_place_that_cannot_be_had_is_an_error_in_the_end(tmp_path: Path) -> None:
    """Not a loop without end."""
    with work_folder(tmp_path) as work, pytest.raises(OSError, match="No such file"):
        put_in_place(make(work / "new", "new"), tmp_path / "nowhere" / "adapter", work)


KILLED = """
import os, sys, signal
from pathlib import Path
from arkor.system.staging import work_folder
with work_folder(Path(sys.argv[1])) as work:
    (work / "half").write_text("half")
    if len(sys.argv) > 2:
        (work / "99").mkdir()
        Path(sys.argv[1], "adapter").rename(work / "99" / "adapter")
    print(work.name, flush=True)
    signal.pause()
"""


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Any]:
    """Start a process that holds a work folder, and kill it; return the folder."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, kill: bool = True) -> Path:
        command = [sys.executable, "-c", KILLED, str(tmp_path), *options]
        environment = {**os.environ, "PYTHONPATH": str(Path(staging.__file__).parents[2])}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        assert process.stdout is not None
        work = tmp_path / process.stdout.readline().strip()
        if kill:
            process.kill()
            process.wait(15)
        return work

    yield start
    for process in started:
        process.kill()
        process.communicate()


def age(work: Path) -> None:
    """Let a work folder be older than any that is just being made."""
    before = time.time() - 2 * staging.LEFT_BEHIND_S
    os.utime(work / "lock", (before, before))


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, killed: Any) -> None:
    """Once it is a minute old; a folder of another kind is not touched."""
    work = killed()
    (tmp_path / ".arkor-download-theirs").mkdir()
    assert (work / "half").exists()
    with work_folder(tmp_path):
        assert work.exists()
    age(work)
    with work_folder(tmp_path):
        assert not work.exists()
    assert names(tmp_path) == [".arkor-download-theirs"]


def test_what_a_running_process_uses_is_not_removed(tmp_path: Path, killed: Any) -> None:
    """However old it is."""
    work = killed(kill=False)
    age(work)
    with work_folder(tmp_path):
        assert (work / "half").exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_what_was_moved_aside_when_the_kill_came_moves_back(tmp_path: Path, killed: Any, replaced: bool) -> None:
    """Unless something else is in its place."""
    make(tmp_path / "adapter", "old")
    work = killed("aside")
    age(work)
    if replaced:
        make(tmp_path / "adapter", "newer")
    with work_folder(tmp_path):
        pass
    assert names(tmp_path) == ["adapter"]
    assert (tmp_path / "adapter" / "file").read_text() == ("newer" if replaced else "old")
