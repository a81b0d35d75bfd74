"""Giving way to other processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

AUTOGROUP = Path("/proc/self/autogroup")
SAYS = (
    "import os, pathlib; from arkor.system.priority import give_way; give_way(7); "
    f"print(os.nice(0)); file = pathlib.Path('{AUTOGROUP}'); print(file.exists() and file.read_text().split()[-1])"
)


def said(*, leads_a_session: bool) -> list[str]:
    command = [sys.executable, "-c", SAYS]
    return subprocess.check_output(command, text=True, start_new_session=leads_a_session, timeout=60).split()


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this system does not share the processor between sessions")
def test_a_process_that_leads_a_session_lowers_the_priority_of_the_session() -> None:
    assert said(leads_a_session=True) == ["7", "7"]


def test_a_process_in_the_session_of_another_one_leaves_the_session_alone() -> None:
    before = AUTOGROUP.read_text().split()[-1] if AUTOGROUP.exists() else "False"
    assert said(leads_a_session=False) == ["7", before]
