"""The characters of a terminal."""

from __future__ import annotations

import io
import locale
from typing import Any

import pytest

from arkor.cli.display.style import ASCII, UNICODE, aligned, fitted, signs_for, width_of


@pytest.mark.parametrize(
    ("share", "fine", "plain"),
    [(0, "▕    ▏", "[----]"), (0.5, "▕██  ▏", "[##--]"), (0.72, "▕██▉ ▏", "[##--]"), (1, "▕████▏", "[####]")],
)
def test_a_bar_has_eighths_of_a_cell(share: float, fine: str, plain: str) -> None:
    """In ASCII whole cells alone."""
    assert (UNICODE.bar_of(share, 4), ASCII.bar_of(share, 4)) == (fine, plain)


@pytest.mark.parametrize(
    ("encoding", "codeset", "signs"),
    [("utf-8", "UTF-8", UNICODE), ("utf-8", "ANSI_X3.4-1968", ASCII), ("ascii", "UTF-8", ASCII)],
)
def test_the_stream_and_the_locale_say_which_characters_there_are(
    encoding: str, codeset: str, signs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both: under LC_ALL=C Python writes UTF-8 all the same."""
    monkeypatch.setattr(locale, "nl_langinfo", lambda _: codeset)
    assert signs_for(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) is signs
    assert signs_for(None) is ASCII


@pytest.mark.parametrize("columns", [1, 5, 9])
@pytest.mark.parametrize("text", ["short", "a\x1b[2J\nlonger text", "返信の分類返信の分類"])
def test_a_text_is_cut_to_columns(text: str, columns: int) -> None:
    """An ideograph takes two; no terminal obeys it."""
    shown = fitted(text, columns)
    assert width_of(shown) <= max(columns, 1)
    assert shown.isprintable()


def test_numbers_stand_on_the_right() -> None:
    """And texts on the left, each as wide as its column."""
    assert aligned([["a", "1"], ["bb", "10"]], frozenset({1})) == [["a ", " 1"], ["bb", "10"]]
