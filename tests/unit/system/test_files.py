"""Files that are written whole or not at all, and locks between processes."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from arkor.errors import ConfigError
from arkor.system.files import (
    arkor_home,
    expand_home,
    file_lock,
    open_regular,
    read_log_end,
    rotate_log,
    write_atomically,
)
from tests.support.eventually import eventually
from tests.support.full_disk import largest_file


@pytest.fixture
def _open_umask() -> Iterator[None]:
    """A umask that takes no permission away."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """Return a file's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_the_home_follows_home(home: Path) -> None:
    """All Arkor clients of a user share one folder."""
    assert arkor_home() == home / ".arkor"


@pytest.mark.parametrize(
    ("path", "says"),
    [("~", r"HOME: is not set, .* set HOME to a folder"), ("~nosuchuser/x", "'nosuchuser', and there is no such user")],
)
def test_a_home_folder_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch, path: str, says: str) -> None:
    """As in a container whose user is a bare number."""

    def unknown(_: object) -> NoReturn:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(ConfigError, match=says):
        expand_home(path)
    with pytest.raises(ConfigError, match="HOME"):
        arkor_home()


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    """Missing parents are made; an old file is replaced; nothing else stays."""
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


@pytest.mark.usefixtures("_open_umask")
def test_a_secret_is_private_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask: at no moment could another user have opened it."""
    seen: list[int] = []
    fdopen = os.fdopen

    def look(handle: int, how: str) -> object:
        seen.extend(mode(file) for file in tmp_path.iterdir())
        return fdopen(handle, how)

    monkeypatch.setattr(os, "fdopen", look)
    write_atomically(tmp_path / "secret", b"token", mode=0o600)
    assert [*seen, mode(tmp_path / "secret")] == [0o600, 0o600]


@pytest.mark.parametrize("wanted", [0o600, 0o644, 0o755])
def test_a_file_gets_the_mode_that_was_asked_for(tmp_path: Path, wanted: int) -> None:
    """Also where a file of another mode was there."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    write_atomically(path, b"new", mode=wanted)
    assert mode(path) == wanted


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash at any moment leaves the old file or the new one."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    at_sync = []

    def fsync(handle: int) -> None:
        at_sync.append((path.read_bytes(), os.fstat(handle).st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"newer")
    assert at_sync == [(b"old", 5)]


def test_a_disk_that_is_full_at_the_sync_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no temporary one."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    """The operating system takes only the first bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with largest_file(1000), pytest.raises(OSError, match="File too large"):
        write_atomically(path, b"x" * 100_000)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_lock_keeps_threads_apart(tmp_path: Path) -> None:
    """One writer at a time; its file stays."""
    inside, entered = threading.Event(), threading.Event()

    def enter() -> None:
        with file_lock(tmp_path / "deep" / "lock"):
            entered.set()

    thread = threading.Thread(target=enter)
    with file_lock(tmp_path / "deep" / "lock"):
        thread.start()
        inside.set()
        assert not entered.wait(0.1)
    thread.join(10)
    assert entered.is_set()
    assert (tmp_path / "deep" / "lock").exists()


def test_a_lock_is_let_go_when_its_process_is_killed(tmp_path: Path) -> None:
    """However it ends: nobody waits for the dead."""
    hold = (
        "import sys; from pathlib import Path; from arkor.system.files import file_lock\n"
        "with file_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    entered = threading.Event()

    def enter() -> None:
        with file_lock(tmp_path / "lock"):
            entered.set()

    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.1)
        holder.kill()
    eventually(entered.is_set, "the lock is free")
    thread.join(10)


def test_a_log_that_is_rotated_goes_on_in_the_same_file(tmp_path: Path) -> None:
    """Its end is kept once; whoever appends to it notices nothing, and the last lines are found in either file."""
    log, kept = tmp_path / "worker.log", tmp_path / "worker.log.1"
    rotate_log(log)
    assert not log.exists()
    with log.open("ab", buffering=0) as writer:
        writer.write(b"first\n" + b"x" * 20 + b"\nlast\n")
        rotate_log(log, longest=40)
        assert not kept.exists()
        rotate_log(log, longest=10)
        assert (log.read_bytes(), kept.read_bytes()) == (b"", b"xxxx\nlast\n")
        assert read_log_end(log) == "xxxx\nlast\n"
        writer.write(b"next\n")
        assert read_log_end(log) == "xxxx\nlast\nnext\n"
        writer.write(b"y" * 3000)
        assert read_log_end(log) == "y" * 3000


def test_a_log_is_emptied_even_if_its_end_cannot_be_kept(tmp_path: Path) -> None:
    """On a full disk its space is what matters."""
    log = tmp_path / "worker.log"
    log.write_bytes(b"x" * 100)
    with largest_file(0):
        rotate_log(log, longest=10)
    assert log.read_bytes() == b""


def test_a_regular_file_is_opened_and_nothing_else(tmp_path: Path) -> None:
    """A pipe without another end, and a device, are refused at once; links count as what they lead to."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"
    for name in ("pipe", "device", "nothing", "."):
        with pytest.raises(OSError, match=r"is no regular file|No such file"):
            open_regular(tmp_path / name)
