"""Text from elsewhere (a backend, a library, a log) made fit to show on a terminal."""

from __future__ import annotations

LONGEST_LINE = 500
LOG_LINES = 15


def many(count: int, noun: str) -> str:
    """Return a number of things in words: ``many(1, "row")`` is ``"1 row"``, ``many(1200, "row")`` ``"1,200 rows"``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """Replace the characters that a terminal would obey by blanks; line feeds and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    r"""Return a text as one line, without characters that a terminal would obey.

    Args:
        text: the text.
        longest: characters, 1 or more; a longer line ends in an ellipsis.

    Example:
        ``one_line("a\n b\x1b[2J")`` is ``"a b [2J"``.
    """
    shown = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def short_repr(value: object, longest: int = 100) -> str:
    """Return the beginning of a value's ``repr()`` for an error; the name of its type if it has none.

    Args:
        value: anything, such as a number of thousands of digits or a list that contains itself.
        longest: characters, 1 or more.
    """
    try:
        return f"{value!r:.{longest}}"
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__}"


def first_line(error: BaseException | str) -> str:
    """Return the first line of an error's message, at most ``LONGEST_LINE`` characters that no terminal obeys.

    Args:
        error: the error, or its message; libraries add source text and backtraces to theirs.

    Returns:
        The line; the name of the error's class if it has no message.
    """
    return next(filter(None, map(one_line, str(error).splitlines())), type(error).__name__)


def last_lines(text: str, count: int = LOG_LINES) -> str:
    """Return the end of a log: at most its last ``count`` lines."""
    return "\n".join(text.splitlines()[-count:]).strip()
