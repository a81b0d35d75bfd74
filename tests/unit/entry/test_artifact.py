"""Who built an artifact, whether it is built again, and what a kill or another process leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor.entry import artifact
from arkor.entry.artifact import ARTIFACT, MARK, find_artifact
from arkor.entry.bundle import build, up_to_date
from arkor.errors import BuildError, EntryError
from tests.support.sources import EVERY_WAY, write_sources

INDEX, HELPER = "src/arkor/index.py", "src/arkor/helper.py"
OPTIONAL = "try:\n    from . import helper\nexcept ImportError:\n    helper = None\n"
AUTOMATIC = "from arkor.entry.bundle import up_to_date; up_to_date()"
PINNED = "from arkor.entry.bundle import build; build()"
# Builds while files change: kill -9 comes at the n-th change.
KILLED = """
import os, signal, pathlib
from arkor.entry import artifact
left = {left}
def dying(change):
    def changed(*args, **kwargs):
        global left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return change(*args, **kwargs)
    return changed
artifact.write_atomically = dying(artifact.write_atomically)
pathlib.Path.unlink = dying(pathlib.Path.unlink)
{code}
"""


def python(code: str) -> int:
    """Run code in a process of its own, and return its exit code."""
    return subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode


def names(changes: dict[Any, str]) -> dict[str, str]:
    """Return changes with plain names."""
    return {str(name): how for name, how in changes.items()}


def is_pinned(project: Path) -> bool:
    """Say whether the project's artifact is pinned."""
    found = find_artifact(project)
    assert found is not None
    return found.is_pinned


def test_an_artifact_is_pinned_if_the_user_asked_for_it(project: Path) -> None:
    """``build`` does; the same sources give the same bytes, whoever builds."""
    write_sources(project, EVERY_WAY)
    automatic = up_to_date()
    assert (automatic.is_pinned, is_pinned(project)) == (False, False)
    pinned = build().read_bytes()
    assert (pinned, is_pinned(project), up_to_date().is_pinned) == (automatic.content, True, True)


def test_an_artifact_without_a_mark_is_pinned(project: Path) -> None:
    """An older arkor wrote no marks."""
    write_sources(project, {INDEX: "NAME = 1\n"})
    before = up_to_date().content
    (project / MARK).unlink()
    write_sources(project, {INDEX: "NAME = 2\n"})
    found = up_to_date()
    assert (found.content, found.is_pinned, found.changes) == (before, True, {})


@pytest.mark.parametrize(
    "mark",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'{"builtBy": "start"}',
        b'{"builtBy": "start", "sha256": 7}',
        b'{"builtBy": "start", "sha256": ["0", 1]}',
        b'{"builtBy": "somebody", "sha256": ["%s"]}',
        b"[" * 100_000,
    ],
)
def test_a_mark_that_does_not_fit_pins_the_artifact(project: Path, mark: bytes) -> None:
    """An artifact that somebody may want is never replaced."""
    write_sources(project, {INDEX: "NAME = 1\n"})
    content = up_to_date().content
    digest = json.loads((project / MARK).read_bytes())["sha256"][0].encode()
    (project / MARK).write_bytes(mark.replace(b"%s", digest))
    write_sources(project, {INDEX: "NAME = 2\n"})
    assert up_to_date().content == content


def test_an_artifact_that_was_put_in_place_by_hand_is_pinned(project: Path) -> None:
    """The mark is of another one."""
    write_sources(project, {INDEX: "NAME = 1\n"})
    up_to_date()
    other = build(project_dir=write_sources(project.parent / "other", {INDEX: "NAME = 'other'\n"}))
    (project / ARTIFACT).write_bytes(other.read_bytes())
    assert up_to_date().content == other.read_bytes()


@pytest.mark.parametrize(
    ("edit", "changes"),
    [
        (lambda root: None, {}),
        (lambda root: os.utime(root / INDEX), {}),
        (lambda root: write_sources(root, {"src/arkor/unused.py": ""}), {}),
        (lambda root: write_sources(root, {HELPER: "X = 2\n"}), {HELPER: "changed"}),
        (lambda root: (root / HELPER).unlink(), {HELPER: "removed"}),
        (lambda root: write_sources(root, {"src/arkor/__init__.py": ""}), {"src/arkor/__init__.py": "added"}),
        (
            lambda root: write_sources(root, {INDEX: f"{OPTIONAL}from . import more\n", "src/arkor/more.py": ""}),
            {INDEX: "changed", "src/arkor/more.py": "added"},
        ),
    ],
)
def test_a_changed_source_is_built_in(project: Path, edit: Callable[[Path], object], changes: dict[str, str]) -> None:
    """By content; a source that an import newly reaches, or no longer does, is a change too."""
    write_sources(project, {INDEX: OPTIONAL, HELPER: "X = 1\n"})
    before = up_to_date()
    edit(project)
    after = up_to_date()
    assert names(dict(after.changes)) == changes
    assert (after.content == before.content) is not bool(changes)
    assert (project / ARTIFACT).read_bytes() == after.content
    assert up_to_date().changes == {}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda root: write_sources(root, {INDEX: "x = (\n"}), r"index\.py:1: does not parse"),
        (lambda root: (root / HELPER).unlink(), r"there is no src/arkor/helper\.py"),
        (lambda root: (root / INDEX).unlink(), r"Build entry not found: .* run: arkor init"),
    ],
)
def test_sources_that_cannot_be_built_are_an_error(project: Path, edit: Callable[[Path], object], message: str) -> None:
    """Never the old artifact in their place; it is still there, and runs again after the edit is taken back."""
    sources = {INDEX: "from . import helper\n", HELPER: ""}
    write_sources(project, sources)
    before = up_to_date().content
    edit(project)
    with pytest.raises(BuildError, match=message):
        up_to_date()
    assert (project / ARTIFACT).read_bytes() == before
    write_sources(project, sources)
    assert (up_to_date().content, up_to_date().is_pinned) == (before, False)


def test_an_unchanged_artifact_needs_no_write(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs in a folder that is read-only by now."""
    write_sources(project, {INDEX: "NAME = 1\n"})
    first = up_to_date()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(artifact, "write_atomically", refuse)
    monkeypatch.setattr(artifact, "file_lock", refuse)
    assert up_to_date().content == first.content
    write_sources(project, {INDEX: "NAME = 2\n"})
    with pytest.raises(BuildError, match=r"index\.pyz cannot be written: Permission denied"):
        up_to_date()


def test_an_artifact_that_cannot_be_read_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a pinned one, so it is not replaced."""

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(EntryError, match=r"index\.pyz cannot be read: Permission denied"):
        up_to_date()


@pytest.mark.parametrize("left", range(5))
@pytest.mark.parametrize("code", [AUTOMATIC, PINNED])
def test_a_kill_between_two_writes_leaves_files_that_fit(project: Path, code: str, left: int) -> None:
    """After it an artifact is the old one, not pinned, or the new one, pinned only if the user asked for it."""
    write_sources(project, {INDEX: "NAME = 1\n"})
    before = up_to_date().content
    write_sources(project, {INDEX: "NAME = 2\n"})
    killed = python(KILLED.format(left=left, code=code)) != 0
    is_new = (project / ARTIFACT).read_bytes() != before
    assert is_pinned(project) is (is_new and code == PINNED)
    assert killed or is_new
    assert python(AUTOMATIC) == 0
    assert (project / ARTIFACT).read_bytes() != before


def test_a_build_after_a_killed_start_is_pinned(project: Path) -> None:
    """Though the mark already lists the very bytes that are built."""
    write_sources(project, {INDEX: "NAME = 1\n"})
    up_to_date()
    write_sources(project, {INDEX: "NAME = 2\n"})
    assert python(KILLED.format(left=1, code=AUTOMATIC)) != 0
    assert len(json.loads((project / MARK).read_bytes())["sha256"]) == 2
    build()
    assert is_pinned(project)
    assert not (project / MARK).exists()


def test_starts_and_builds_at_once_end_pinned(project: Path) -> None:
    """Real processes, many times: no start replaces what a build has made."""
    write_sources(project, EVERY_WAY)
    for number in range(3):
        write_sources(project, {"src/arkor/settings.py": f"NAME = {number}\n"})
        build()
        pinned = (project / ARTIFACT).read_bytes()
        write_sources(project, {"src/arkor/settings.py": f"NAME = {number + 100}\n"})
        again = "[up_to_date() for _ in range(20)]"
        running = [
            subprocess.Popen([sys.executable, "-c", f"from arkor.entry.bundle import up_to_date; {again}"])
            for _ in range(3)
        ]
        assert [process.wait(30) for process in running] == [0, 0, 0]
        assert ((project / ARTIFACT).read_bytes(), is_pinned(project)) == (pinned, True)


def test_a_pinned_artifact_that_comes_while_a_start_builds_wins(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start runs it: it would have found it a moment later."""
    write_sources(project, {INDEX: "NAME = 1\n", "src/arkor/other.py": "NAME = 'other'\n"})

    def beaten(project: Path, content: bytes) -> artifact.Found:
        build(Path("src/arkor/other.py"))
        return artifact.write_automatic(project, content)

    monkeypatch.setattr("arkor.entry.bundle.write_automatic", beaten)
    found = up_to_date()
    assert (found.is_pinned, found.changes, found.content) == (True, {}, (project / ARTIFACT).read_bytes())
