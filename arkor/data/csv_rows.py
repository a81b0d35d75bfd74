"""Rows out of a CSV file: the first line names the columns, and the columns decide what becomes of the rows.

Specification: RFC 4180, as Python's csv module reads it, in UTF-8.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from arkor.data.columns import CONVERSATIONS
from arkor.data.conversion import Conversion, Converter, warn_of_unused
from arkor.data.formats import name_list
from arkor.data.jsonl import LONG_ROW, MAX_ROW_BYTES, NOT_UTF8, TO_UTF8
from arkor.errors import DatasetError

SUFFIXES = (".csv", ".tsv")

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}  # the first one that the first line has is meant

_NUL = "\udc00"  # what is no UTF-8 becomes surrogates from 0xdc80 on
_JSON = frozenset({"messages", "tools", "parallel_tool_calls", *CONVERSATIONS})


def read_csv(
    file: io.BufferedReader, suffix: str, converter: Converter
) -> Generator[tuple[int, Mapping[str, Any] | None, str | None], None, None]:
    """Read CSV record by record; blank lines are passed over.

    Without a comma in the first line, semicolons or tabs stand between the columns: spreadsheets write semicolons where
    a comma is the decimal sign. Columns that are not used are left away, with a warning. An empty optional cell is
    absent.

    Args:
        file: the content, UTF-8 with or without a byte order mark; it stays open, and may be closed after this is.
        suffix: of its name; ``.tsv`` for tabs.
        converter: of this file alone.

    Yields:
        (the line that the record begins in, from 1; the row or None; the reason it is bad or None). Whether the row can
        be trained on is not looked at.

    Raises:
        DatasetError: the first line does not name the columns of a format.
    """
    delimiter = _delimiter(file, suffix)
    # Bytes that are not UTF-8 become surrogates, so that each record tells of its own.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        records = _records(text, delimiter)
        line, header, reason = next(records, (1, [], "is missing: it has to name the columns"))
        columns = [name.strip() for name in header]
        reason = reason or _unfit(header) or _header_problem(columns)
        if reason is not None:
            way = f"; {TO_UTF8}" * (NOT_UTF8 in reason)
            raise DatasetError(converter.source, f"the first line cannot be used{way}", [(line, reason)])
        told = f"its columns, with {_DELIMITERS[delimiter]} between them"
        conversion = converter.decide(line, dict.fromkeys(columns, ""), has_all=True, told=told)
        used = conversion.used(columns)
        warn_of_unused(converter.source, columns, used)
        for line, fields, fault in records:
            yield (line, *((None, fault) if fault else _row(columns, fields, used, conversion)))
    finally:
        text.detach()


def _delimiter(file: io.BufferedReader, suffix: str) -> str:
    if suffix.lower() == ".tsv":
        return "\t"
    first = file.peek().lstrip(b"\r\n").partition(b"\n")[0].decode(errors="replace")
    return next((delimiter for delimiter in _DELIMITERS if delimiter in first), ",")


def _records(text: io.TextIOWrapper, delimiter: str) -> Generator[tuple[int, list[str], str | None], None, None]:
    """Yield the line that each record begins in, with its fields or the reason it is none; the last one then."""
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        lines.left = MAX_ROW_BYTES
        try:
            fields = next(reader)
        except StopIteration:
            return
        except _LongRecord:
            yield line, [], LONG_ROW
            return
        except csv.Error as exc:  # where the next record begins is not known
            yield line, [], _csv_fault(exc)
            return
        if fields:
            yield line, fields, None


class _LongRecord(Exception):
    """A record is longer than a row may be."""


class _Lines:
    """The lines of a text, without NULs, at which Python 3.10's csv ends.

    Attributes:
        left: how many characters the record may still have.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.left = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self.left + 1)
        if not line:
            raise StopIteration
        self.left -= len(line)
        if self.left < 0:
            raise _LongRecord
        return line.replace("\0", _NUL)


def _csv_fault(exc: csv.Error) -> str:
    reason = str(exc)
    if "unexpected end of data" in reason:
        return "is not CSV: a quote is opened and never closed"
    if "field limit" in reason:
        return (
            f"has a field of more than {csv.field_size_limit()} characters, which Python's csv does not read: is a "
            "quote never closed? Else use JSONL, or raise csv.field_size_limit()"
        )
    return f"is not CSV: {reason}"


def _header_problem(columns: Sequence[str]) -> str | None:
    if "" in columns:
        return f"column {columns.index('') + 1} has no name"
    twice = next((name for place, name in enumerate(columns) if name in columns[:place]), None)
    if twice is not None:
        return f"two columns are named {name_list([twice])}"
    return None


def _row(
    columns: Sequence[str], fields: Sequence[str], used: Sequence[str], conversion: Conversion
) -> tuple[Mapping[str, Any] | None, str | None]:
    reason = _unfit(fields)
    if reason is None and len(fields) != len(columns):
        reason = f"has {len(fields)} field{'s' * (len(fields) != 1)}, where the first line names {len(columns)}"
    if reason is not None:
        return None, reason
    cells = dict(zip(columns, fields, strict=True))
    row: dict[str, Any] = {}
    for name in used:
        cell, new_name = cells[name], conversion.renamed.get(name, name)
        if new_name not in conversion.required and not cell.strip():
            continue
        try:
            row[name] = json.loads(cell) if new_name in _JSON else cell
        except (ValueError, RecursionError) as exc:
            return None, f"{name} is not JSON: {exc}"
    return conversion.apply(row)


def _unfit(fields: Sequence[str]) -> str | None:
    """Say why fields are no text."""
    content = "".join(fields)
    if _NUL in content:
        return "holds a NUL byte"
    try:
        content.encode()
    except UnicodeEncodeError as exc:
        return f"{NOT_UTF8} (byte 0x{ord(content[exc.start]) - 0xDC00:02x})"
    return None
