"""What a person sees of work that goes through phases."""

from __future__ import annotations

import pytest

from arkor.cli.display.phase_bars import PhaseBars
from arkor.entry.runner import _saying_phases

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
    shown = capsys.readouterr()
    assert [line.strip() for line in shown.err.splitlines() if line.strip()] == ["download", "convert", "uploading"]
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
    assert said == ["Fetching the model: down ]0;load"]


def test_a_run_says_a_line_for_each_phase() -> None:
    """Where the library prints, not the command line."""
    said: list[str] = []
    note = _saying_phases(said.append)
    for report in ({"phase": "download"}, {"phase": "download", "done": 3, "total": 9}, UPLOADING, WHOLE, {}):
        note(report)
    assert said == ["Fetching the model: download", "Sending the rows"]
