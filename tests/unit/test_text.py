"""Text that was not written here, shown."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from arkor.text import first_line, last_lines, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\tc  d ", "a b c d"),
        ("\x1b[31mred\x1b[0m\x07", "[31mred [0m"),
        ("\x9b31m\u202eevil\u2028line", "31m evil line"),
        ("right \u202eleft", "right left"),
        ("größer 😀", "größer 😀"),
        ("", ""),
        ("x" * 600, "x" * 499 + "…"),
    ],
    ids=range(7),
)
def test_what_somebody_else_wrote_becomes_one_harmless_line(text: str, shown: str) -> None:
    """No control character reaches a terminal, nor does a page of text."""
    assert one_line(text) == shown


@given(st.text())
def test_printable_text_keeps_its_lines_and_obeys_nothing(text: str) -> None:
    """Line feeds and tabs stay, and so does the number of characters."""
    shown = printable(text)
    assert len(shown) == len(text)
    assert all(char.isprintable() or char in "\n\t" for char in shown)
    assert [i for i, char in enumerate(text) if char in "\n\t"] == [i for i, char in enumerate(shown) if char in "\n\t"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "first"),
        (ValueError("\n \nlater"), "later"),
        (ValueError(), "ValueError"),
        (KeyError("name"), "'name'"),
        ("panic: too many\n<backtrace>\n  0: <unknown>", "panic: too many"),
        ("\x1b[2Ja\tb", "[2Ja b"),
        ("x" * 1000, "x" * 499 + "…"),
    ],
)
def test_the_first_line_of_an_error(error: Exception | str, line: str) -> None:
    """Its class stands in for a message that is empty."""
    assert first_line(error) == line


def test_the_last_lines_of_a_log() -> None:
    """At most as many as asked for, without blank ends."""
    assert last_lines("a\nb\nc\n", 2) == "b\nc"
    assert last_lines("") == ""
    assert last_lines("\n".join(map(str, range(40)))) == "\n".join(map(str, range(25, 40)))
