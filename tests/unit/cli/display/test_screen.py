"""A bar at the foot of a terminal, and what is printed above it."""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import Any

import pytest

from arkor.cli.display.run_progress import Figures
from arkor.cli.display.screen import Screen, draw_bar, fitting
from arkor.protocol.events import TrainingCompletedEvent, TrainingLogEvent, TrainingPreparingEvent
from arkor.protocol.jobs import TrainingJob

PARTS = ["5/60", "loss 1.2345", "eval loss 1.5000", "0:01:05 left", "2.1 steps/s"]


class Screenful(io.StringIO):
    """A terminal of 80 columns, as it looks after all that was written to it."""

    def isatty(self) -> bool:
        return True

    @property
    def rows(self) -> list[str]:
        """The rows on the screen, without the blanks at their ends."""
        rows = []
        for text in self.getvalue().split("\n"):
            row: list[str] = []
            for piece in text.split("\r"):
                row[: len(piece)] = piece
            rows.append("".join(row).rstrip())
        return rows


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Screenful:
    """Return what stdout and stderr are from now on."""
    shown = Screenful()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def at_step(step: int, **config: Any) -> Figures:
    """Return what is known of a job at a step."""
    known = Figures(TrainingJob(id="job_1", config=config), "")
    known.take(TrainingLogEvent("job_1", "", step=step, loss=1.5))
    return known


@pytest.mark.parametrize(
    ("columns", "width", "info"),
    [
        (200, 30, "  ".join(PARTS)),
        (99, 16, "  ".join(PARTS)),
        (80, 10, "  ".join(PARTS[:4])),
        (60, 22, "  ".join(PARTS[:2])),
        (41, 16, PARTS[0]),
        (30, 0, ""),
        (1, 0, ""),
    ],
)
def test_the_bar_gives_way_to_figures_and_the_least_important_go_first(columns: int, width: int, info: str) -> None:
    """The line is always shorter than the terminal is wide."""
    assert fitting("training", PARTS, columns) == (width, info)


def test_preparing_has_a_bar() -> None:
    """Also of a job that does not say how many steps it has."""
    known, terminal = Figures(TrainingJob(id="job_1"), ""), Screenful()
    known.take(TrainingPreparingEvent("job_1", "", "tokenizing", 3, 10))
    draw_bar(known, terminal, 60)
    assert terminal.getvalue().strip() == "tokenizing the rows  [########--------------------]   30%"


@pytest.mark.parametrize("columns", [*range(2, 130, 7), 500])
@pytest.mark.parametrize("config", [{"maxSteps": 60}, {}, {"maxSteps": 10**400}], ids=["known", "unknown", "endless"])
def test_a_bar_fits_into_every_terminal(columns: int, config: dict[str, Any]) -> None:
    """In plain characters; where the total is not known, or there is no room, it is a line without a bar."""
    terminal = Screenful()
    length = draw_bar(at_step(30, **config), terminal, columns)
    text = terminal.getvalue()
    assert text.startswith("\r")
    assert text.count("\r") == 1
    assert text[1:].isprintable()
    assert length == len(text[1:].rstrip()) <= max(columns - 1, 1)
    assert ("%" in text) == ("[" in text)
    assert not ("[" in text and config == {})


def test_what_is_printed_appears_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in pieces, and through a logger that was made meanwhile; the bar comes back when the line is whole."""
    terminal = open_terminal(monkeypatch)
    screen = Screen()
    with screen.shared():
        handler = logging.StreamHandler()
        screen.show(at_step(1, maxSteps=4))
        print("first")
        print("half", end=" ")
        assert terminal.rows[-1] == "half"
        screen.show(at_step(2, maxSteps=4))
        assert terminal.rows[-1] == "half"
        print("whole")
        handler.emit(logging.LogRecord("x", logging.WARNING, "", 1, "logged", None, None))
        sys.stdout.writelines(["a\n", "b\n"])
        assert terminal.rows[-1].endswith("50%  2/4  loss 1.5000")
        known = at_step(4, maxSteps=4)
        known.take(TrainingCompletedEvent("job_1"))
        screen.show(known)
        screen.end()
        print("after")
    bar = f"completed  [{'#' * 30}]  100%  4/4  loss 1.5000"
    assert terminal.rows == ["first", "half whole", "logged", "a", "b", bar, "after", ""]
    assert sys.stdout is terminal


def test_a_stream_that_is_no_terminal_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output into a file has nothing to do with the bar; what is closed stays closed."""
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(sys, "stdout", file := io.StringIO())
    screen = Screen()
    with screen.shared():
        screen.show(at_step(1, maxSteps=4))
        print("into the file")
    assert file.getvalue() == "into the file\n"
    assert [row[:9] for row in terminal.rows] == ["training ", ""]
    monkeypatch.setattr(sys, "stdout", None)
    with Screen().shared():
        assert sys.stdout is None


def test_threads_that_print_do_not_garble_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of each is there, whole."""
    terminal = open_terminal(monkeypatch)
    screen = Screen()

    def say(name: str) -> None:
        for number in range(50):
            sys.stdout.write(f"{name} {number}\n")

    with screen.shared():
        screen.show(at_step(1, maxSteps=4))
        threads = [threading.Thread(target=say, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    *said, bar, end = terminal.rows
    assert sorted(said) == sorted(f"{name} {number}" for name in ("one", "two") for number in range(50))
    assert (bar[:8], end) == ("training", "")
