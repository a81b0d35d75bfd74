"""Colours, weight and characters for people at a terminal.

There are three colours: green for what is done, red for what failed, yellow for warnings. Click leaves them out if a
stream is no terminal, and ``cli/exits.py`` for NO_COLOR and TERM=dumb.
"""

from __future__ import annotations

import contextlib
import functools
import locale
import os
import sys
from collections.abc import Sequence
from typing import TextIO
from unicodedata import combining, east_asian_width

import attrs
import click

from arkor.text import one_line

USUAL_COLUMNS = 80
STATUS_COLOURS = {"completed": "green", "failed": "red", "cancelled": "yellow", "paused": "yellow"}

strong = functools.partial(click.style, bold=True)
quiet = functools.partial(click.style, dim=True)
warning = functools.partial(click.style, fg="yellow")


@attrs.frozen
class Signs:
    """The characters of a locale.

    Attributes:
        done: begins the line of a job that completed.
        failed: begins the line of a job that did not.
        dot: stands between facts.
        arrow: stands between a question and its answer.
        bar: the ends of a bar, its whole cell, and an empty one.
        parts: cells that are filled in part, the least first.
        is_braille: whether a plot is made of braille characters.
    """

    done: str
    failed: str
    dot: str
    arrow: str
    bar: str
    parts: str
    is_braille: bool

    def bar_of(self, share: float, width: int) -> str:
        """Return a bar.

        Args:
            share: how much of it is filled, 0 to 1.
            width: cells between its ends, 1 or more.
        """
        left, right, whole, empty = tuple(self.bar)
        steps = len(self.parts) + 1
        full, rest = divmod(int(share * width * steps), steps)
        cells = whole * full + (self.parts[rest - 1] if rest else "")
        return f"{left}{cells.ljust(width, empty)}{right}"


ASCII = Signs("OK", "FAILED", "|", "->", "[]#-", "", is_braille=False)
UNICODE = Signs("✓", "✗", "·", "→", "▕▏█ ", "▏▎▍▌▋▊▉", is_braille=True)


def signs_for(stream: TextIO | None) -> Signs:
    """Return the characters that a stream and the locale have: under LC_ALL=C, Python itself writes UTF-8."""
    encodings = (getattr(stream, "encoding", None), _codeset())
    return UNICODE if all((name or "").lower().replace("-", "") == "utf8" for name in encodings) else ASCII


def _codeset() -> str:
    if sys.platform == "win32":
        return locale.getpreferredencoding(do_setlocale=False)
    return locale.nl_langinfo(locale.CODESET)


def columns_of(terminal: TextIO | None) -> int:
    """Return the width of a terminal, which may change; 80 for a stream that is none."""
    with contextlib.suppress(OSError, ValueError):
        if terminal is not None:
            return os.get_terminal_size(terminal.fileno()).columns or USUAL_COLUMNS
    return USUAL_COLUMNS


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for an ideograph, none for an accent."""
    return sum(0 if combining(char) else 2 if east_asian_width(char) in {"W", "F"} else 1 for char in text)


def fitted(text: str, columns: int) -> str:
    """Return a text on one line, without characters that a terminal would obey, cut to a number of columns."""
    shown = one_line(text, max(1, columns))
    while width_of(shown) > max(1, columns):
        shown = one_line(shown, len(shown) - 1)
    return shown


def aligned(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[list[str]]:
    """Return the cells of a table, each as wide as its column.

    Args:
        rows: cells without colours; every row has as many.
        right: the columns of numbers, which stand on the right.
    """
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    padded = []
    for row in rows:
        blanks = [" " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True)]
        padded.append(
            [
                blank + cell if number in right else cell + blank
                for number, (cell, blank) in enumerate(zip(row, blanks, strict=True))
            ]
        )
    return padded
