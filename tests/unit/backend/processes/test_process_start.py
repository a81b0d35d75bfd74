"""Which process is meant, whatever the wall clock says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from arkor.backend.processes.process_start import is_running, process_start

PID = 4242
TICKS = 987654


class Proc:
    """The kernel's files about one process, as a test wants them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "sys/kernel/random").mkdir(parents=True)
        (folder / str(PID)).mkdir()
        self.boot("6f0c")
        self.stat()

    def boot(self, boot_id: str) -> None:
        (self.folder / "sys/kernel/random/boot_id").write_text(f"{boot_id}\n")

    def stat(self, *, ticks: int = TICKS, state: str = "S", name: str = "python") -> None:
        between = " ".join(str(number) for number in range(4, 22))
        (self.folder / f"{PID}/stat").write_text(f"{PID} ({name}) {state} {between} {ticks} 23 24\n")


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path / "proc")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A real process, which lives until the test has ended."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        yield process
        process.kill()


def test_the_start_is_the_boot_and_the_ticks_since(proc: Proc) -> None:
    """The name of a program may contain spaces and parentheses."""
    assert process_start(PID, proc.folder) == "boot:6f0c:987654"
    proc.stat(name="a) S 1 (b c")
    assert process_start(PID, proc.folder) == "boot:6f0c:987654"


@pytest.mark.parametrize(
    "change",
    [
        lambda proc: proc.stat(ticks=TICKS + 1),
        lambda proc: proc.boot("77aa"),
        lambda proc: proc.stat(state="Z"),
        lambda proc: (proc.folder / f"{PID}/stat").unlink(),
    ],
    ids=["another process", "another boot", "a zombie", "gone"],
)
def test_a_process_runs_until_it_ends(proc: Proc, change: Callable[[Proc], None]) -> None:
    """Another process with its id, in this boot or a later one, is not it."""
    start = process_start(PID, proc.folder)
    assert is_running(PID, start, proc.folder)
    change(proc)
    assert not is_running(PID, start, proc.folder)


def test_a_step_of_the_wall_clock_changes_nothing(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The creation time that psutil computes moves with the clock; a process keeps its start."""
    start = process_start(child.pid)
    if not start.startswith("boot:"):
        pytest.skip("this system has the creation time alone")
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + 3600)
    assert process_start(child.pid) == start
    assert is_running(child.pid, start)


def test_a_system_without_boot_ids_compares_creation_times(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """They may differ by a little; databases of earlier versions have them too."""
    start = process_start(child.pid, tmp_path)
    created = float(start.removeprefix("created:"))
    assert is_running(child.pid, start)
    assert is_running(child.pid, f"created:{created + 1}")
    assert not is_running(child.pid, f"created:{created + 3}")
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(child.pid, start)
