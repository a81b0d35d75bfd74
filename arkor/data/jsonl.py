"""Rows as JSONL: read and written row by row, every row checked on the way.

Protocol: docs/protocol.md, "Jobs": the rows under "The config object"; "Datasets".
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

import attrs

from arkor.data.formats import (
    FORMATS,
    PREFERENCE,
    PREFERENCE_COLUMNS,
    row_format,
    row_problem,
    row_size,
    says_nothing,
)
from arkor.data.preferences import preference_size
from arkor.drawing.html import table
from arkor.errors import DatasetError
from arkor.protocol import wire
from arkor.protocol.json_rules import HALF_CHARACTER
from arkor.text import many, one_line

MAX_LISTED_PROBLEMS = 20
MAX_LISTED_KEYS = 20
MAX_ROW_BYTES = 16 * 1024**2
NOT_UTF8 = "is not UTF-8"
TO_UTF8 = "save the file as UTF-8, which spreadsheets call CSV UTF-8"
LONG_ROW = f"is longer than {MAX_ROW_BYTES // 1024**2} MiB, the most that a row may have"

# A surrogate that seems to lack its other half. An escaped backslash before an u could make half a pair look whole.
_SUSPECT = re.compile(
    rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F])|\\\\u", re.DOTALL
)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


decode = json.JSONDecoder(parse_constant=_no_number).raw_decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@attrs.frozen(kw_only=True, repr=False)
class DatasetSummary:
    """What is in a data set whose rows are all good.

    Attributes:
        rows: how many there are, at least 1.
        format: their one format: ``chatml``, ``prompt_completion``, ``alpaca`` or ``text``; or ``preference``, of rows
            that cannot be trained on yet.
        turns: messages in all rows together; a question with its answer counts two, a ``text`` row none.
        max_turns: most messages in one row.
        longest_row: the number of the row that says most, from 1: a line of the file.
        longest_characters: how many characters that row says, without keys, roles and calls.
        size_bytes: the size of the rows as JSONL.
        unused: the first 20 keys of rows that say something and that no model sees.
        files: of several files, the number of the first row of each.
    """

    rows: int
    format: str
    turns: int
    max_turns: int
    longest_row: int
    longest_characters: int
    size_bytes: int
    unused: tuple[str, ...] = ()
    files: Mapping[str, int] = attrs.field(factory=dict, hash=False)

    @property
    def mean_turns(self) -> float:
        """Messages per row."""
        return self.turns / self.rows

    def __repr__(self) -> str:
        turns = f", {many(self.turns, 'message')}" if self.turns else ""
        unused = f", unused: {', '.join(self.unused)}" if self.unused else ""
        return one_line(f"<DatasetSummary, {many(self.rows, 'row')} of {self.format}{turns}{unused}>")

    def _repr_html_(self) -> str:
        return table(
            {
                "rows": f"{self.rows:,}",
                "format": self.format,
                "messages": f"{self.turns:,}, at most {self.max_turns:,} in a row" if self.turns else "",
                "longest row": f"row {self.longest_row:,} ({many(self.longest_characters, 'character')})",
                "size": f"{self.size_bytes:,} bytes",
                "unused keys": ", ".join(self.unused),
                "files": ", ".join(self.files),
            }.items()
        )

    def to_wire(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        body = {**wire.to_wire(self), "meanTurns": self.mean_turns, "unused": list(self.unused)}
        return {key: value for key, value in body.items() if key not in {"unused", "files"} or value}


class Tally:
    """What was found in the rows so far.

    Args:
        source: what to call the rows in an error.
        place: says where a row of a number is, as the beginning of a reason; by default nowhere else.

    Attributes:
        bad: how many rows cannot be trained on.
    """

    def __init__(self, source: str, place: Callable[[int], str] | None = None) -> None:
        self.bad = 0
        self._source = source
        self._place = place
        self._known: frozenset[str] = frozenset()
        self._unused: dict[str, None] = {}
        self._problems: list[tuple[int, str]] = []
        self._format = ""
        self._rows = self._turns = self._max_turns = self._longest_row = 0
        self._longest_characters = -1

    def note(self, number: int, row: dict[str, Any] | None, reason: str | None) -> None:
        """Take in a row.

        Args:
            number: where it is in its source, from 1.
            row: the row, or None for a bad one.
            reason: why it is bad, or None.
        """
        self._rows += 1
        if row is None:
            self._refuse(number, reason or "is bad")
            return
        kind = row_format(row) or PREFERENCE
        if kind != self._format:
            if self._format:
                self._refuse(number, f"is {kind}, but the rows before it are {self._format}")
                return
            self._format = kind
            self._known = _seen_keys(kind)
        if len(self._unused) < MAX_LISTED_KEYS and not row.keys() <= self._known:
            self._note_unused(row)
        turns, characters = preference_size(row) if kind == PREFERENCE else row_size(row, kind)
        self._turns += turns
        self._max_turns = max(self._max_turns, turns)
        if characters > self._longest_characters:
            self._longest_row, self._longest_characters = number, characters

    def _note_unused(self, row: Mapping[str, Any]) -> None:
        for key in row.keys() - self._known:
            if len(self._unused) < MAX_LISTED_KEYS and not says_nothing(row[key]):
                self._unused[key] = None

    def _refuse(self, number: int, reason: str) -> None:
        self.bad += 1
        if len(self._problems) < MAX_LISTED_PROBLEMS:
            self._problems.append((number, f"{self._place(number)}{reason}" if self._place else reason))

    def summary(self, size_bytes: int, files: Mapping[str, int] | None = None) -> DatasetSummary:
        """Return what was found.

        Args:
            size_bytes: the size of the rows as JSONL.
            files: of several files, the number of the first row of each.

        Raises:
            DatasetError: rows are bad (the first 20 are listed, the rest counted) or there are none.
        """
        if not self._rows:
            raise DatasetError(self._source, "has no rows")
        if self.bad:
            what = "1 row cannot be trained on" if self.bad == 1 else f"{self.bad} rows cannot be trained on"
            if any(NOT_UTF8 in reason for _, reason in self._problems):
                what += f"; {TO_UTF8}"
            raise DatasetError(self._source, what, self._problems, self.bad - len(self._problems))
        return DatasetSummary(
            rows=self._rows,
            format=self._format,
            turns=self._turns,
            max_turns=self._max_turns,
            longest_row=self._longest_row,
            longest_characters=self._longest_characters,
            size_bytes=size_bytes,
            unused=tuple(sorted(self._unused)),
            files=files or {},
        )


def _seen_keys(kind: str) -> frozenset[str]:
    if kind == PREFERENCE:
        return frozenset(PREFERENCE_COLUMNS)
    return frozenset((*FORMATS[kind].required, *FORMATS[kind].optional))


def read_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file's lines, as ``read_rows`` takes them, in bounded memory.

    A line that is longer than a row may be is the last one: its beginning is read, and nothing behind it.

    Args:
        file: the file, buffered.
    """
    while line := file.readline(MAX_ROW_BYTES + 1):
        yield line
        if len(line) > MAX_ROW_BYTES:
            return


def read_rows(lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | None, str | None]]:
    """Read JSONL line by line; blank lines are passed over.

    Args:
        lines: the file's lines, UTF-8; a byte order mark before a row is allowed.

    Yields:
        (line number from 1, the row or None, the reason it is bad or None)
    """
    for number, row, reason in read_values(lines):
        yield (number, *_checked(row, reason))


def read_values(lines: Iterable[bytes]) -> Iterator[tuple[int, Any, str | None]]:
    """Read JSONL line by line, as ``read_rows`` does, without a look at what the values say.

    Yields:
        (line number from 1, the value or None, the reason it cannot be read or None)
    """
    for number, line in enumerate(lines, start=1):
        found = _value_of(line)
        if found is not None:
            yield (number, *found)


def check_rows(source: str, lines: Iterable[bytes]) -> DatasetSummary:
    """Check a whole JSONL file, holding one row at a time.

    Args:
        source: what to call it in an error.
        lines: the file's lines, as for ``read_rows``.

    Returns:
        What is in it; all rows are good and of one format.

    Raises:
        DatasetError: rows are bad (the first 20 are listed, the rest counted) or there are none.
    """
    tally, size_bytes = Tally(source), 0
    for number, line in enumerate(lines, start=1):
        size_bytes += len(line)
        found = _value_of(line)
        if found is not None:
            tally.note(number, *_checked(*found))
    return tally.summary(size_bytes)


def row_line(row: Any) -> tuple[bytes, str | None]:
    """Return a row as a line of JSONL, or the reason it cannot be one.

    Args:
        row: of what JSON has; its keys keep their order.

    Returns:
        (the line with its end, None), or (nothing, the reason)
    """
    try:
        line: bytes = _encode(row).encode() + b"\n"
    except UnicodeEncodeError:
        return b"", HALF_CHARACTER
    except RecursionError:
        return b"", "is nested too deeply"
    except ValueError as exc:  # infinity, or a number of thousands of digits
        return b"", f"holds a number that JSON cannot hold: {exc}"
    return (line, None) if len(line) <= MAX_ROW_BYTES else (b"", LONG_ROW)


def _value_of(line: bytes) -> tuple[Any, str | None] | None:
    """Return the value of a line or the reason there is none; None for a blank line."""
    if len(line) > MAX_ROW_BYTES:
        return None, LONG_ROW
    content = line.strip()  # a line's end would count as a line of its own in the error's column
    return _parsed(content) if content and content != codecs.BOM_UTF8 else None


def _parsed(content: bytes, *, may_be_marked: bool = True) -> tuple[Any, str | None]:
    """Return the value of a line, or the reason there is none."""
    try:
        text = content.decode()
        value, end = decode(text)
        if end != len(text):
            return None, f"is not JSON: Extra data (column {len(text) - len(text[end:].lstrip()) + 1})"
        if (b"\\ud" in content or b"\\uD" in content) and _SUSPECT.search(content):
            json.dumps(value, ensure_ascii=False).encode()  # UTF-8 cannot hold half a character
    except (ValueError, RecursionError) as exc:
        if may_be_marked and content.startswith(codecs.BOM_UTF8):
            return _parsed(content.removeprefix(codecs.BOM_UTF8).lstrip(), may_be_marked=False)
        return None, _why_unreadable(exc)
    return value, None


def _checked(value: Any, reason: str | None) -> tuple[dict[str, Any] | None, str | None]:
    """Return a row, or the reason that it is bad."""
    reason = reason or row_problem(value)
    return (value, None) if reason is None else (None, reason)


def _why_unreadable(exc: ValueError | RecursionError) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return f"{NOT_UTF8} (byte {exc.start + 1})"
    if isinstance(exc, UnicodeEncodeError):
        return HALF_CHARACTER
    if isinstance(exc, json.JSONDecodeError):
        return f"is not JSON: {exc.msg} (column {exc.colno})"
    # A number of thousands of digits, or brackets within brackets.
    return "is not JSON: nested too deeply" if isinstance(exc, RecursionError) else f"is not JSON: {exc}"
