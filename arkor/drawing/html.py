"""Text from elsewhere in a page: shown as it is, and never taken for HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def text(value: object) -> str:
    """Return a value's text as HTML that shows it; a character that cannot be encoded becomes a question mark."""
    return escape(str(value).encode("utf-8", "replace").decode())


def table(found: Iterable[tuple[str, object]]) -> str:
    """Return names with their values as a table, a row each; a value that is empty or None has no row."""
    rows = "".join(
        f'<tr><th align="left" style="text-align:left">{text(name)}</th>'
        f'<td align="left" style="text-align:left">{text(value)}</td></tr>'
        for name, value in found
        if value not in (None, "")
    )
    return f"<table>{rows}</table>"


def preformatted(shown: object) -> str:
    """Return a text of several lines as HTML that keeps them."""
    return f"<pre>{text(shown)}</pre>"
