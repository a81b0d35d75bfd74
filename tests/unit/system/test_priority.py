"""Giving way to other processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What the session of a process weighs beside others. Where Linux has no such sessions it is missing, or empty.
AUTOGROUP = Path("/proc/self/autogroup")
SAYS_ITS_SESSION = (
    f"import pathlib; file = pathlib.Path('{AUTOGROUP}'); print(file.exists() and file.read_text().split()[-1:])"
)
GIVES_WAY = "import os; from arkor.system.priority import give_way; give_way(7); print(os.nice(0));"


def said(program: str, *, leads_a_session: bool) -> list[str]:
    command = [sys.executable, "-c", program]
    return subprocess.check_output(command, text=True, start_new_session=leads_a_session, timeout=60).split("\n")


def test_a_process_that_leads_a_session_lowers_the_priority_of_the_session() -> None:
    if said(SAYS_ITS_SESSION, leads_a_session=True)[0] in ("False", "[]"):
        pytest.skip("this system does not share the processor between sessions")
    assert said(GIVES_WAY + SAYS_ITS_SESSION, leads_a_session=True)[:2] == ["7", "['7']"]


def test_a_process_in_the_session_of_another_one_leaves_the_session_alone() -> None:
    before = said(SAYS_ITS_SESSION, leads_a_session=False)[0]
    assert said(GIVES_WAY + SAYS_ITS_SESSION, leads_a_session=False)[:2] == ["7", before]
