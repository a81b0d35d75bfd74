"""A progress bar at the foot of a terminal, and above it whatever is printed meanwhile."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from arkor.cli.display.run_progress import Figures
from arkor.cli.display.style import columns_of, signs_for

WIDEST_BAR = 30
NARROWEST_BAR = 10
_FRAME = "  []  100%"  # around a bar
_SEPARATOR = "  "


class Screen:
    """The terminal that stderr is, with a bar at its foot while there is one.

    What goes to stdout or stderr while ``shared()`` is open appears above the bar. The bar is made of plain characters
    and carriage returns: nothing has to be undone when the process is killed, and there is no colour to turn off.

    Thread-safety: safe.
    """

    def __init__(self) -> None:
        self._terminal = sys.stderr
        self._lock = threading.RLock()
        self._figures: Figures | None = None
        self._shown = 0  # characters of the bar that is on the screen
        self._at_line_start = True

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Put what is printed above the bar, until the end."""
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (_Above(stream, self.write) if is_terminal(stream) else stream for stream in before)
        try:
            yield
        finally:
            self.end()
            sys.stdout, sys.stderr = before

    def show(self, figures: Figures) -> None:
        """Draw the bar, in place of what was drawn before."""
        with self._lock:
            self._figures = figures
            self._draw()

    def end(self, *, keep: bool = True) -> None:
        """Take no more of the terminal.

        Args:
            keep: leave the bar as it is, and go on below it; otherwise it is removed.
        """
        with self._lock:
            self._figures = None
            if self._shown and not keep:
                self._clear()
                self._terminal.flush()
            elif self._shown:
                self._shown = 0
                self._terminal.write("\n")
                self._terminal.flush()

    def write(self, stream: TextIO, text: str) -> int:
        """Write to a stream that is this terminal, above the bar."""
        with self._lock:
            self._clear()
            self._terminal.flush()
            written = stream.write(text)
            if text:
                self._at_line_start = text.endswith("\n")
            if self._figures is not None:
                stream.flush()
                self._draw()
            return written

    def _draw(self) -> None:
        if self._figures is None or not self._at_line_start:  # the bar comes back when the line is whole
            return
        self._clear()
        self._shown = draw_bar(self._figures, self._terminal, columns_of(self._terminal))

    def _clear(self) -> None:
        if self._shown:
            width = min(self._shown, columns_of(self._terminal) - 1)
            self._shown = 0
            self._terminal.write(f"\r{' ' * width}\r")


class _Above:
    """A stream whose text goes above the bar; all else is as it was."""

    def __init__(self, stream: TextIO, write: Callable[[TextIO, str], int]) -> None:
        self._stream = stream
        self._write = write

    def write(self, text: str) -> int:
        return self._write(self._stream, text)

    def writelines(self, lines: Sequence[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def is_terminal(stream: TextIO | None) -> bool:
    """Say whether a standard stream is there, and is a terminal."""
    return stream is not None and stream.isatty()


def draw_bar(figures: Figures, file: TextIO, columns: int) -> int:
    """Draw a bar at the beginning of a line, shorter than the terminal is wide.

    Args:
        figures: what it shows.
        file: the terminal.
        columns: characters of a line.

    Returns:
        How many characters it has.
    """
    label, parts, share = figures.label, figures.parts(), figures.share
    width, info = (0, "") if share is None else fitting(label, parts, columns)
    if share is None or not width:
        line = _SEPARATOR.join([label, *parts])[: columns - 1].rstrip()
    else:
        bar = signs_for(file).bar_of(share, width)
        line = _SEPARATOR.join([label, bar, f"{int(share * 100):>3}%", *([info] if info else [])])
    file.write(f"\r{line}")
    file.flush()
    return len(line)


def fitting(label: str, parts: Sequence[str], columns: int) -> tuple[int, str]:
    """Return how wide the bar may be, and what stands beside it; a width of 0 where there is no room for a bar.

    Args:
        label: what stands before the bar.
        parts: what stands beside it, the most important first.
        columns: characters of a line; the last one stays free, since some terminals go on to the next line there.
    """
    room = columns - 1 - len(label) - len(_FRAME)
    for count in range(len(parts), -1, -1):
        info = _SEPARATOR.join(parts[:count])
        width = min(WIDEST_BAR, room - len(_SEPARATOR) - len(info))
        if width >= NARROWEST_BAR:
            return width, info
    return 0, ""
