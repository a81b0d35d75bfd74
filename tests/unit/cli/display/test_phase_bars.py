"""What a person sees of work that goes through phases."""

from __future__ import annotations

import pytest

from arkor.cli.display.phase_bars import PhaseBars
from arkor.entry.runner import _saying_phases
from tests.support.terminal import Terminal

UPLOADING = {"phase": "uploading", "done": 10, "total": 100}
WHOLE = {"phase": "uploading", "done": 100, "total": 100}


def test_each_phase_is_told_once_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Fetching a model, then sending rows; on stderr, as stdout belongs to the user's callbacks."""
    with PhaseBars() as bars:
        for phase in ("download", "convert", None):
            bars.update({"phase": phase, "done": 0, "total": 0})
            bars.update({"phase": phase, "done": 50, "total": 100})
        bars.update(UPLOADING)
        bars.update(UPLOADING | {"done": 0})  # the connection was cut, and it begins anew
        bars.update(WHOLE)
        bars.update(UPLOADING | {"phase": "uploading-eval"})
    shown = capsys.readouterr()
    lines = [line.strip() for line in shown.err.splitlines() if line.strip()]
    assert lines == ["download", "convert", "sending the rows", "sending the held-out rows"]
    assert shown.out == ""


def test_what_is_over_at_once_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A file of a few rows is sent before anybody could read of it."""
    said: list[str] = []
    with PhaseBars() as bars:
        bars.update(WHOLE)
    _saying_phases(said.append)(WHOLE)
    assert (capsys.readouterr().err, said) == ("", [])


def test_no_terminal_obeys_a_phase(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the backend's word, and so are its figures."""
    said: list[str] = []
    report = {"phase": "down\x1b]0;load\n", "done": "much", "total": [1]}
    with PhaseBars() as bars:
        bars.update(report)
    _saying_phases(said.append)(report)
    assert capsys.readouterr().err.strip() == "down ]0;load"
    assert said == ["Preparing: down ]0;load"]


def test_a_run_says_a_line_for_each_phase() -> None:
    """Where the library prints, not the command line."""
    said: list[str] = []
    note = _saying_phases(said.append)
    fetching = {"phase": "download", "model": "tiny"}
    for report in (fetching, fetching | {"done": 3, "total": 9}, UPLOADING, WHOLE, {}):
        note(report)
    assert said == ["Preparing: tiny: download", "Preparing: sending the rows"]


PROGRAM = """
from arkor.cli.display.phase_bars import PhaseBars

with PhaseBars() as bars:
    for phase in ("checking", "converting"):
        bars.update({"phase": phase, "model": "tiny", "done": 39, "total": 100})
"""


def test_a_phase_that_another_follows_is_shown_as_whole() -> None:
    """The backend is asked twice a second: 39 % may be the last that is heard of a phase."""
    with Terminal(program=("-c", PROGRAM)) as terminal:
        code, shown = terminal.end()
    assert code == 0, shown
    assert shown.count("100%") == 2
    assert "tiny: checking" in shown
