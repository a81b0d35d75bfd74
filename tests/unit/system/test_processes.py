"""Child processes of the same Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from arkor.errors import InterpreterMissing
from arkor.system.processes import is_alive, module_command


def test_a_module_runs_with_this_interpreter() -> None:
    """With its arguments as they are."""
    command = module_command("json.tool", "--help")
    assert command[0] == sys.executable
    assert "usage" in subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.mark.parametrize("is_there", [True, False])
def test_an_interpreter_that_cannot_be_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """One that is gone, and one without the right to run it. It is no error of some folder."""
    python = tmp_path / "python"
    if is_there:
        python.write_text("")
        python.chmod(0o600)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InterpreterMissing, match=str(python)) as raised:
        module_command("json.tool")
    assert isinstance(raised.value, FileNotFoundError)


@pytest.mark.parametrize("unknown", ["", None])
def test_an_interpreter_that_python_does_not_know_is_said(monkeypatch: pytest.MonkeyPatch, unknown: str | None) -> None:
    """In an embedded Python."""
    monkeypatch.setattr(sys, "executable", unknown)
    with pytest.raises(InterpreterMissing, match="its path is not known"):
        module_command("json.tool")


def test_a_process_of_this_user_is_alive_until_it_ends() -> None:
    """A zombie has ended too, and so has one whose id was given to another process."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        created_at = psutil.Process(process.pid).create_time()
        assert is_alive(process.pid, created_at)
        if sys.platform == "linux":
            assert not is_alive(process.pid, created_at - 60)
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert not is_alive(process.pid, created_at)
        process.kill()
    assert not is_alive(process.pid, created_at)


def test_an_id_that_no_process_can_have_is_not_alive() -> None:
    """It comes from a file."""
    assert not is_alive(10**30, 0.0)
